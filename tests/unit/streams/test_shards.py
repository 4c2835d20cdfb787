from sealwax.streams.shards import Shard, readable


def ids(shards, finished=()):
    return [shard.id for shard in readable([Shard(*each) for each in shards], finished)]


LINE = [("a", None), ("b", "a"), ("c", "a"), ("d", "b")]


def test_a_root_is_read_first():
    assert ids(LINE) == ["a"]


def test_children_are_read_once_their_parent_is_at_its_end():
    assert ids(LINE, {"a"}) == ["b", "c"]
    assert ids(LINE, {"a", "b"}) == ["c", "d"]


def test_the_child_of_a_forgotten_parent_is_read():
    assert ids([("d", "b"), ("e", "d")]) == ["d"]


def test_the_order_of_the_description_does_not_matter():
    assert set(ids(LINE[::-1], {"a"})) == {"b", "c"}


def test_what_is_finished_is_read_no_more():
    assert ids(LINE, {"a", "b", "c", "d"}) == []
