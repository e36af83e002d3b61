"""Titles of protocols tell what differs, and nothing else."""

from tta.reporting.comparing.titles import titles

FACTS = {
    "dataset": "digits-c",
    "scenario": "continual",
    "severity": "5",
    "batch size": "10",
    "backbone": "net",
    "seeds": "1, 2",
    "stream": "abc",
}


def test_one_protocol_has_its_name_alone():
    assert titles([FACTS]) == ["digits-c, continual, net"]


def test_four_that_differ_little_name_what_differs():
    made = titles(
        [
            FACTS,
            FACTS | {"batch size": "200"},
            FACTS | {"severity": "3", "seeds": "1", "stream": "a"},
            FACTS | {"scenario": "gradual", "backbone": "other"},
        ]
    )
    assert made == [
        "digits-c, continual, net, severity 5, batch size 10, 2 seeds",
        "digits-c, continual, net, severity 5, batch size 200, 2 seeds",
        "digits-c, continual, net, severity 3, batch size 10, 1 seed",
        "digits-c, gradual, other",
    ]


def test_classes_are_named():
    made = titles([FACTS | {"classes digest": "none"}, FACTS | {"classes digest": "c0ffee"}])
    assert [title.rpartition(", ")[2] for title in made] == ["all classes", "classes c0ffee"]


def test_seeds_and_streams_only_where_nothing_else_differs():
    made = titles([FACTS, FACTS | {"seeds": "3, 4"}])
    assert made[1] == "digits-c, continual, net, seeds 3, 4"
    made = titles([FACTS, FACTS | {"stream": "def"}])
    assert made == ["digits-c, continual, net, stream abc", "digits-c, continual, net, stream def"]


def test_no_two_are_alike():
    assert titles([FACTS, FACTS])[1] == "digits-c, continual, net (2)"
