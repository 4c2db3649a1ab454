from diffgraph.world.recipe.subjects import BASE, PACKS


def test_no_pack_concept_is_known_to_the_base_and_none_stands_twice() -> None:
    held_out = [c for pack in PACKS.values() for c in pack]
    assert len(held_out) == len(set(held_out))
    assert len(BASE) == len(set(BASE))
    assert not set(held_out) & set(BASE)
    assert len(PACKS) >= 8
