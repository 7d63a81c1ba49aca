"""Finding an asset and reading its members."""

import pytest

from dataengine.corpus.corpus import Corpus
from dataengine.errors import DataengineError, UsageError
from dataengine.report.asset import find_asset
from tests.synthetic import uid_of


def test_found_by_uid_and_by_its_beginning(corpus: Corpus) -> None:
    assert find_asset(corpus, uid_of(0)).uid == uid_of(0)
    assert find_asset(corpus, uid_of(1)[:12].upper()).uid == uid_of(1)


def test_what_it_is_and_what_became_of_it(corpus: Corpus) -> None:
    good, bad, waiting = (find_asset(corpus, uid_of(n)) for n in (0, 1, 2))
    assert [a.status for a in (good, bad, waiting)] == ["ok", "failed", "planned"]
    assert good.title == "0.glb" and bad.title == "Ball 1"
    assert not good.stale
    assert len(good.views().cameras) == 8
    assert good.read("00.rgba.png").startswith(b"\x89PNG")


def test_an_unknown_uid_names_the_nearest(corpus: Corpus) -> None:
    wrong = uid_of(3)[:-1] + ("0" if uid_of(3)[-1] != "0" else "1")
    with pytest.raises(UsageError, match=f"no asset '{wrong}'; the nearest is {uid_of(3)}"):
        find_asset(corpus, wrong)


def test_a_file_name_leads_to_its_uid(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match=f"the nearest is {uid_of(2)} "):
        find_asset(corpus, "2.glb")


def test_an_ambiguous_beginning_asks_for_more(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match="several assets begin with ''"):
        find_asset(corpus, "")


def test_quotes_are_no_sql(corpus: Corpus) -> None:
    with pytest.raises(UsageError, match="has no asset"):
        find_asset(corpus, "x' OR '1'='1")


def test_members_of_assets_without_views(corpus: Corpus) -> None:
    with pytest.raises(DataengineError, match="its status is failed"):
        find_asset(corpus, uid_of(1)).read("cameras.json")
    with pytest.raises(DataengineError, match="its status is planned"):
        find_asset(corpus, uid_of(2)).views()
