"""Lists that are not counted to their end."""

from stoa.kernel.pages import COUNT_MAX, Page, PageRequest


def test_a_long_list_can_be_gone_through_by_its_number_of_pages() -> None:
    """`page_count` stays ahead of whoever reads pages up to it, and ends with the list."""
    things = COUNT_MAX + 1_234
    request, seen = PageRequest(page_size=500), 0
    while True:
        items = range(things)[request.offset : request.offset + request.page_size]
        page = Page.counted(items, request, min(things, COUNT_MAX + 1))
        assert page.estimated
        seen += len(items)
        if request.page >= page.page_count:
            break
        request = PageRequest(request.page + 1, 500)
    assert seen == things


def test_a_list_that_can_be_counted_is() -> None:
    page = Page.counted(range(25), PageRequest(), COUNT_MAX)
    assert (page.total_count, page.estimated) == (COUNT_MAX, False)
