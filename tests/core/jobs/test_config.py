"""A config's fields are read in one way, for forms, the command line and messages."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from busaug_core.errors import UserError
from busaug_core.jobs.config import Choices, FieldType, JobConfig, field_type

COLOURS = {"red": 1, "green": 2}


class Paint(JobConfig):
    """Paints."""

    width: int | None = Field(None, ge=1, le=9)
    share: float = Field(0.5, gt=0, le=1)
    mode: Literal["wet", "dry"] | None = None
    colours: Annotated[list[str], Choices(lambda: COLOURS)] = ["red"]
    tools: list[Literal["brush", "roll"]] = ["brush"]
    amounts: dict[str, int] | None = None


def test_a_fields_type_tells_kind_bounds_and_choices():
    assert field_type(Paint, "width") == FieldType(int, True, int, (), {"min": 1, "max": 9})
    assert field_type(Paint, "share").bounds == {"max": 1}
    mode = field_type(Paint, "mode")
    assert (mode.kind, mode.optional, mode.choices) == (str, True, ("wet", "dry"))
    tools = field_type(Paint, "tools")
    assert (tools.kind, tools.element, tools.choices) == (list, str, ("brush", "roll"))
    amounts = field_type(Paint, "amounts")
    assert (amounts.kind, amounts.optional, amounts.element) == (dict, True, int)


def test_choices_of_a_registry_are_those_that_it_has_when_it_is_used(monkeypatch):
    assert field_type(Paint, "colours").choices == ("red", "green")
    assert "there is no 'blue'; there are red, green" in Paint.find_problems({"colours": ["blue"]})["colours"]
    monkeypatch.setitem(COLOURS, "blue", 3)
    assert Paint(colours=["blue"]).colours == ["blue"]


def test_problems_are_told_by_field_and_missing_ones_are_left_to_the_form():
    class Needy(Paint):
        """Needs a name."""

        name: str

    problems = Needy.find_problems({"width": 12})
    assert set(problems) == {"width"}
    assert "less than or equal to 9" in problems["width"]


@pytest.mark.parametrize("key", ["", "2nd", "a-b", "a b", "a\n"])
def test_a_runs_name_that_is_none_is_refused_with_what_it_may_be(key):
    with pytest.raises(UserError, match="'run_key': a run's name is of letters, digits and _ .* or leave it out"):
        Paint.parse({"run_key": key})
    assert Paint.parse({"run_key": "_2nd"}).run_key == "_2nd"
