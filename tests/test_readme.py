from tests import readme


def test_the_table_of_rooms_is_what_the_rooms_say():
    text = readme.README.read_text()
    assert readme.START in text
    assert readme.END in text
    assert readme.written(text) == text, "run python -m tests.readme"
