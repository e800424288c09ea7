"""The lines of keys, in every form TOML gives them."""

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from fastsmtp.config.kinds import key, toml
from fastsmtp.config.places import Key, places

TEXT = '''\
# comment with [brackets] and "quotes"
top = 1
a.b . "c d" = "x # not a comment"  # comment

[t]
s = """
two
lines = "3" """
l = [ 1, "]", # in an array
  [2, 3], { k = 1 },
]
r = 'a\\'
after = 1979-05-27T07:32:00Z

[ "quo\\"ted" . 'x.y' ]
k = { one = 1, two.three = ["x"] }
m = \'\'\'a
'b\'\'\'
[[many]]
n = 1
[[many]]
n = 2
[many.sub]
o = 1
'''


def test_every_form() -> None:
    found = {path: tuple(place) for path, place in places(TEXT).items()}
    assert found == {
        ("top",): (2, 1),
        ("a",): (3, 1),
        ("a", "b"): (3, 1),
        ("a", "b", "c d"): (3, 1),
        ("t",): (5, 1),
        ("t", "s"): (6, 1),
        ("t", "l"): (9, 1),
        ("t", "l", 0): (9, 7),
        ("t", "l", 1): (9, 10),
        ("t", "l", 2): (10, 3),
        ("t", "l", 2, 0): (10, 4),
        ("t", "l", 2, 1): (10, 7),
        ("t", "l", 3): (10, 11),
        ("t", "l", 3, "k"): (10, 13),
        ("t", "r"): (12, 1),
        ("t", "after"): (13, 1),
        ('quo"ted',): (15, 1),
        ('quo"ted', "x.y"): (15, 1),
        ('quo"ted', "x.y", "k"): (16, 1),
        ('quo"ted', "x.y", "k", "one"): (16, 7),
        ('quo"ted', "x.y", "k", "two"): (16, 16),
        ('quo"ted', "x.y", "k", "two", "three"): (16, 16),
        ('quo"ted', "x.y", "k", "two", "three", 0): (16, 29),
        ('quo"ted', "x.y", "m"): (17, 1),
        ("many",): (19, 1),
        ("many", 0): (19, 1),
        ("many", 0, "n"): (20, 1),
        ("many", 1): (21, 1),
        ("many", 1, "n"): (22, 1),
        ("many", 1, "sub"): (23, 1),
        ("many", 1, "sub", "o"): (24, 1),
    }


names = st.text(max_size=5)
values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=3)
    ),
    max_leaves=10,
)


def paths(value: Any, path: Key) -> set[Key]:
    found = set()
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, inner in items:
        found |= {(*path, name)} | paths(inner, (*path, name))
    return found


@settings(max_examples=40)
@given(st.dictionaries(names, values, max_size=4))
def test_every_path_of_what_we_write_has_a_place(tree: dict[str, Any]) -> None:
    text = "".join(f"{key(name)} = {toml(value)}\n" for name, value in tree.items())
    assert tomllib.loads(text) == tree
    assert set(places(text)) == paths(tree, ())
