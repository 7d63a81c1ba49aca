from dataengine.sources.java_properties import read_properties


def test_the_examples_of_its_documentation() -> None:
    for line in ("Truth = Beauty", " Truth:Beauty", "Truth                    :Beauty", "Truth Beauty"):
        assert read_properties(line.encode()) == {"Truth": "Beauty"}
    continued = (
        b"fruits                           apple, banana, pear, \\\n"
        b"                                 cantaloupe, watermelon, \\\n"
        b"                                 kiwi, mango\n"
    )
    assert read_properties(continued) == {"fruits": "apple, banana, pear, cantaloupe, watermelon, kiwi, mango"}
    assert read_properties(b"cheeses\n") == {"cheeses": ""}
    assert read_properties(b"\\:\\=key=value") == {":=key": "value"}


def test_comments_blanks_and_ends_of_lines() -> None:
    assert read_properties(b"# a=1\r\n\r\n ! b=2\rc=3\nd=4 \\\\\ne=5\\") == {"c": "3", "d": "4 \\", "e": "5"}


def test_both_encodings_and_escapes() -> None:
    assert read_properties(b"a=\\u00e9t\\u00E9") == {"a": "été"}
    assert read_properties(b"a=\\ud83d\\ude00") == {"a": "😀"}
    assert read_properties("a=été".encode("iso-8859-1")) == {"a": "été"}
    assert read_properties("a=été €".encode()) == {"a": "été €"}
    assert read_properties(b"a=x\\ty\\qz") == {"a": "x\tyqz"}
