import pytest
import torch
from PIL import Image

from tests.corruptions.pictures import pictures
from tta.corruptions import corrupt, frost_source
from tta.corruptions.frost_textures import OFFICIAL_FILES
from tta.corruptions.plasma import plasma_fractal
from tta.corruptions.random import ImageRandom
from tta.corruptions.zoom import zoom_centre
from tta.foundation.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Frost pictures of one level each, so that a result tells which was taken."""
    for number, name in enumerate(OFFICIAL_FILES):
        Image.new("RGB", (400, 300), (40 * number,) * 3).save(tmp_path / name, quality=100)
    return tmp_path


def test_frost_draws_each_official_picture(folder):
    result = corrupt(
        pictures(1).mul(0).expand(64, -1, -1, -1), "frost", 1, range(64), frost_textures=folder
    )
    levels = set(result.flatten().tolist())
    assert levels == {0, 8, 16, 24, 32}


def test_frost_source_tells_the_texture(folder):
    assert frost_source(folder) == "official"
    assert frost_source(None) == "procedural"
    (folder / "frost4.jpg").unlink()
    with pytest.raises(UserError, match="lacks frost4.jpg"):
        frost_source(folder)
    with pytest.raises(UserError, match="lacks frost4.jpg"):
        corrupt(pictures(1), "frost", 1, [0], frost_textures=folder)


def test_frost_refuses_images_larger_than_its_pictures(folder):
    with pytest.raises(UserError, match="don't fit"):
        corrupt(pictures(1, side=320), "frost", 1, [0], frost_textures=folder)


def test_snow_only_brightens():
    images = pictures(8)
    for severity in (1, 5):
        assert (corrupt(images, "snow", severity, range(8)).int() - images.int()).min() >= -1


def test_fog_keeps_the_brightest_level():
    images = pictures(8)
    result = corrupt(images, "fog", 5, range(8))
    assert (result.amax((1, 2, 3)) <= images.amax((1, 2, 3))).all()


def test_plasma_fills_the_unit_range_and_roughens():
    def roughness(decay):
        maps = plasma_fractal(64, decay, ImageRandom(torch.arange(16), "fog", 1, 0))
        assert maps.amin() == 0 and maps.amax() == 1
        return (maps[:, 1:] - maps[:, :-1]).abs().mean()

    assert roughness(1.5) > roughness(3.0)


def test_zoom_keeps_a_linear_ramp_linear():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    zoomed = zoom_centre(ramp, 2.0)[0, 0]
    assert torch.allclose(zoomed[0].diff(), torch.full((31,), 15 / 31), atol=1e-4)
    assert torch.equal(zoom_centre(ramp, 1.0), ramp)
