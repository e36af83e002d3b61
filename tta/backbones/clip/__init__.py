"""Zero-shot classifiers of image-text models: open_clip's, and a small one that comes with this.

The image tower stands behind ``features()``, which are unit vectors; the head is the logit scale
times the text embeddings of the classes. The text tower stays beside, see
:mod:`tta.backbones.clip.text_side`.
"""
