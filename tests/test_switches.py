"""Options that are on or off, as a command line and a config write them."""

from __future__ import annotations

import pytest
from scripts.errors import InputError
from scripts.switches import read_switch, read_switches


@pytest.mark.parametrize(("value", "on"), [(True, True), (False, False), ("true", True), ("False", False)])
def test_switches(value: bool | str, on: bool):
    assert read_switch(value, "resume") is on


def test_a_switch_is_on_or_off():
    with pytest.raises(InputError, match="expected resume true or false, found 'maybe'"):
        read_switch("maybe", "resume")


def test_all_switches_of_a_config_are_read_together():
    switches = read_switches(writes="false", resume=True)
    assert (switches.writes, switches.resume) == (False, True)
    with pytest.raises(InputError, match="expected compile true or false, found 1"):
        read_switches(writes=True, compile=1)
