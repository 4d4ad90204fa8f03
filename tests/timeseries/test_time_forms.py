"""Time stamps as people write them: read right, announced, or refused with the setting that helps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np
import pytest

from repcore.errors import DataError, ItemError
from repcore_timeseries.formats.times import looks_like_times, read_times
from repcore_timeseries.formats.zones import in_utc

HOUR = 3600 * 10**9


def stamps(cells: Sequence[Any], column: str = "time", form: str = "") -> list[str]:
    """Times to the second, as ISO."""
    return read_times(cells, column, form).times.astype("datetime64[ns]").astype("datetime64[s]").astype(str).tolist()


@pytest.mark.parametrize(
    ("cells", "column", "second", "said"),
    [
        (["200403101800", "200403101900"], "DATE", "2004-03-10T19:00:00", "YYYYMMDDHHMM"),
        (["20040310180000", "20040310181500"], "time", "2004-03-10T18:15:00", "YYYYMMDDHHMMSS"),
        (["20210131", "20210201"], "time", "2021-02-01T00:00:00", "YYYYMMDD"),
        (["20210131.0", "20210201.0"], "date", "2021-02-01T00:00:00", "YYYYMMDD"),
        (["2004031018", "2004031019"], "date", "2004-03-10T19:00:00", "YYYYMMDDHH"),
        (["200412", "200501"], "month", "2005-01-01T00:00:00", "YYYYMM"),
        (["2021365", "2022001"], "date", "2022-01-01T00:00:00", "day of the year"),
        (["38056.75", "38056.791666666664", "38056.833333333336"], "Time", "2004-03-10T19:00:00", "Excel"),
        (["38056", "38057"], "Date", "2004-03-11T00:00:00", "Excel"),
        (["1950", "1951"], "year", "1951-01-01T00:00:00", "years"),
        (["1949", "1949.08333", "1949.16667"], "time", "1949-02-01T00:00:00", "years"),
        (["132537600000000000", "132537600600000000"], "time", "2020-12-30T00:01:00", "FILETIME"),
        (["2458849.5", "2458850.5"], "jd", "2020-01-02T00:00:00", "Julian"),
        (["1078941600", "1078945200"], "timestamp", "2004-03-10T19:00:00", "numbers of s since 1970"),
        (["1078941600000", "1078945200000"], "ts", "2004-03-10T19:00:00", "numbers of ms since 1970"),
        (["0", "90000"], "Time [ms]", "1970-01-01T00:01:30", "numbers of ms"),
        (["0", "90000000"], "Time (µs)", "1970-01-01T00:01:30", "numbers of us"),
        (["0", "90"], "t", "1970-01-01T00:01:30", "numbers of s"),
        (["01/13/2021 11:00 PM", "01/14/2021 12:00 AM"], "time", "2021-01-14T00:00:00", "month first"),
        (["10/03/2004 18.00.00", "31/03/2004 19.00.00"], "time", "2004-03-31T19:00:00", "day first"),
        (["30.1.21 7:05", "31.1.21 7:05"], "time", "2021-01-31T07:05:00", "day first"),
        (["20-Dec-99", "01-Jan-00"], "date", "2000-01-01T00:00:00", "first 1999-12-20"),
        (["1/22/20", "1/23/20"], "date", "2020-01-23T00:00:00", "month first"),
        (["30.04.2021", "3.05.2021"], "date", "2021-05-03T00:00:00", "day first"),
        (["2021-01-01 24:00", "2021-01-02 01:00"], "time", "2021-01-02T01:00:00", "24:00 is the midnight after"),
        (["2021-W05", "2021-W06"], "week", "2021-02-08T00:00:00", "weeks"),
        (["2021-032", "2021-033"], "date", "2021-02-02T00:00:00", "day of the year"),
        (["2021Q1", "2021Q2"], "quarter", "2021-04-01T00:00:00", "quarters"),
        (["03/13/04 06:00:00 PM", "03/13/04 07:00:00 PM"], "Date Time, GMT+01:00", "2004-03-13T18:00:00", "GMT+01:00"),
        (["2021-10-31 02:00 CEST", "2021-10-31 02:00 CET"], "time", "2021-10-31T01:00:00", "CET is UTC+1"),
        (["59:59.5", "60:00.5"], "time", "1970-01-01T01:00:00", "minutes and seconds, without a date"),
    ],
)  # fmt: skip
def test_a_form_is_read_and_said(cells: list[str], column: str, second: str, said: str) -> None:
    assert stamps(cells, column)[1] == second
    assert said in read_times(cells, column).said


@pytest.mark.parametrize(
    ("cells", "second"),
    [
        (["1949-01", "1949-02"], "1949-02-01T00:00:00"),
        (["Jan 5, 2021", "Jan 6, 2021"], "2021-01-06T00:00:00"),
        (["5 January 2021 10:00", "6 January 2021"], "2021-01-06T00:00:00"),
        (["31-Dez-2020", "1-Mai-2021"], "2021-05-01T00:00:00"),
        (["Mon, 04 Jan 2021 10:00:00 +0100", "Tue, 05 Jan 2021 10:00:00 +0100"], "2021-01-05T09:00:00"),
        (["Mon Jan  4 10:00:00 2021", "Tue Jan  5 10:00:00 2021"], "2021-01-05T10:00:00"),
        (["20210101T000500", "20210101T001000"], "2021-01-01T00:10:00"),
        (["2021/1/5 3:04", "2021/1/5 3:09"], "2021-01-05T03:09:00"),
        (["2021-01-01T00:00:00.5Z", "2021-01-01T00:00:01Z"], "2021-01-01T00:00:01"),
        (["2021-10-31 02:30:00+02:00", "2021-10-31 02:30:00+01:00"], "2021-10-31T01:30:00"),
        ([date(2021, 1, 1), date(2021, 1, 2)], "2021-01-02T00:00:00"),
        ([datetime(2021, 1, 1, 5), datetime(2021, 1, 1, 6)], "2021-01-01T06:00:00"),
    ],
)  # fmt: skip
def test_forms_that_can_mean_one_thing_only_are_not_announced(cells: list[Any], second: str) -> None:
    assert stamps(cells)[1] == second
    assert read_times(cells, "time").said == ""
    assert looks_like_times(cells)


def test_day_and_month_are_told_apart_by_the_whole_column() -> None:
    hourly = [f"01/{2 + hour // 24:02d}/2021 {hour % 24:02d}:00" for hour in range(60)]
    assert stamps(hourly)[-1] == "2021-01-04T11:00:00"
    assert "more even" in read_times(hourly, "time").why
    falling = ["11/01/2021", "12/01/2021", "01/02/2021", "02/02/2021"]
    assert stamps(falling)[2] == "2021-02-01T00:00:00"
    monthly = [f"01/{month:02d}/2021" for month in range(1, 13)]
    with pytest.raises(DataError, match="may be day-first or month-first, and nothing in the column tells"):
        stamps(monthly)
    assert stamps(monthly, form="day-first")[1] == "2021-02-01T00:00:00"
    assert stamps(monthly, form="month-first")[1] == "2021-01-02T00:00:00"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["2021-01-01 00:00", "2021-02-30 00:00"], r"row 1: '2021-02-30 00:00' is no date of the calendar"),
        (["2021-01-01 00:00", "2021-01-01 25:00"], r"row 1: '2021-01-01 25:00' has no such time of day"),
        (["2021-01-01T00:00Z", "2021-01-01T01:00"], r"row 1: '2021-01-01T01:00' has no offset"),
        (["2021-01-01", ""], r"row 1: '' is empty"),
        (["2021-01-01 00:00 XYZ"], r"'2021-01-01 00:00 XYZ' is no time"),
        (["40000", "40001"], r"40000 may be a day of a spreadsheet \(2009-07-06T00:00:00\) or a number of seconds"),
    ],
)  # fmt: skip
def test_what_is_no_time_or_several_is_refused(cells: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        stamps(cells)


def test_the_user_says_the_form() -> None:
    assert stamps(["40000", "40001"], form="s")[1] == "1970-01-01T11:06:41"
    assert stamps(["40000", "40001"], form="excel")[1] == "2009-07-07T00:00:00"
    assert stamps(["5;3;21", "6;3;21"], form="%d;%m;%y")[1] == "2021-03-06T00:00:00"
    assert stamps(["7", "8"], form="min")[1] == "1970-01-01T00:08:00"
    with pytest.raises(DataError, match="time_form='weeks' is unknown"):
        stamps(["7"], form="weeks")


def test_words_and_numbers_alone_are_no_times() -> None:
    for cells in (["CCO", "CCN"], ["mol-2021", "mol-2022"], ["1.5 V", "2.5 V"], ["2021", "2022"], ["18:00", "19:00"]):
        assert not looks_like_times(cells)


def test_an_hour_that_comes_twice_is_told_apart_by_the_order_of_lines() -> None:
    local = np.array(["2021-10-31T01:00", "2021-10-31T02:00", "2021-10-31T02:00", "2021-10-31T03:00"], "datetime64[ns]")
    found = in_utc(local.astype(np.int64), None, "Europe/Berlin")
    assert np.diff(found).tolist() == [HOUR] * 3
    assert found.astype("datetime64[ns]").astype("datetime64[h]").astype(str)[0] == "2021-10-30T23"
    with pytest.raises(ItemError, match="comes twice in Europe/Berlin, and the lines do not tell"):
        in_utc(local[[0, 1, 3]].astype(np.int64), None, "Europe/Berlin")
    with pytest.raises(ItemError, match="2021-03-28T02:30:00 is skipped in Europe/Berlin"):
        in_utc(np.array(["2021-03-28T02:30"], "datetime64[ns]").astype(np.int64), None, "Europe/Berlin")
