import pytest

from dataengine.sources.attribution import licence_url
from dataengine.sources.licences import is_non_commercial, linked_licence, normalise


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("by", "cc-by-4.0"),
        ("by-nc-sa", "cc-by-nc-sa-4.0"),
        ("cc0", "cc0-1.0"),
        ("CC0", "cc0-1.0"),
        ("CC0 (Kenney)", "cc0-1.0"),
        ("CC0 per Kenney (info.json licence id 1)", "cc0-1.0"),
        ("CC-BY-3.0 (Google Poly)", "cc-by-3.0"),
        ("CC-BY-3.0-US", "cc-by-3.0-us"),
        ("CC BY-SA 4.0", "cc-by-sa-4.0"),
        ("CC-BY-4.0 (YCB); repo LGPL-2.1", "cc-by-4.0"),
        ("Creative Commons - Attribution", "cc-by-4.0"),
        ("Creative Commons - Attribution - Non-Commercial - Share Alike", "cc-by-nc-sa-4.0"),
        ("Creative Commons Attribution-NonCommercial-NoDerivs 3.0", "cc-by-nc-nd-3.0"),
        ("Creative Commons - Public Domain Dedication", "cc0-1.0"),
        ("https://creativecommons.org/licenses/by-nc/4.0/", "cc-by-nc-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("available at: http://creativecommons.org/licenses/by/3.0/us/ .", "cc-by-3.0-us"),
        ("http://creativecommons.org/choose/zero/", "cc0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
        ("MIT repo", "mit"),
        ("MIT License", "mit"),
        ("MIT-0", "mit-0"),
        ("Apache-2.0 repo; texture: pexels", "apache-2.0"),
        ("Apache License 2.0", "apache-2.0"),
        ("GNU GPL v3", "gpl-3.0"),
        ("GNU General Public License v3.0", "gpl-3.0"),
        ('BSD 3-Clause "New" or "Revised" License', "bsd-3-clause"),
        ("MPL-2.0 repo", "mpl-2.0"),
        ("Donated for  testing", "donated for testing"),
        ("", None),
        ("Unknown", None),
        (None, None),
    ],
)
def test_licences_as_sources_write_them(text: str | None, name: str | None) -> None:
    assert normalise(text) == name


def test_a_normalised_licence_stays() -> None:
    for name in ("cc-by-4.0", "cc0-1.0", "cc-by-nc-nd-3.0", "mit", "gpl-3.0", "bsd-3-clause", "cc-by-3.0-us"):
        assert normalise(name) == name


def test_the_licence_that_a_text_links_to() -> None:
    text = "Terms\n\nThese files are under http://creativecommons.org/licenses/by/3.0/us/ and not\nunder anything else."
    assert linked_licence(text) == "cc-by-3.0-us"
    assert linked_licence("see https://creativecommons.org/about") is None


def test_where_a_creative_commons_licence_can_be_read() -> None:
    assert licence_url("cc-by-nc-sa-4.0") == "https://creativecommons.org/licenses/by-nc-sa/4.0/"
    assert licence_url("cc-by-3.0-us") == "https://creativecommons.org/licenses/by/3.0/us/"
    assert licence_url("mit") is None


def test_non_commercial() -> None:
    assert is_non_commercial("cc-by-nc-4.0") and is_non_commercial("cc-by-nc-sa-4.0")
    assert not is_non_commercial("cc-by-4.0") and not is_non_commercial(None) and not is_non_commercial("ncsa")
