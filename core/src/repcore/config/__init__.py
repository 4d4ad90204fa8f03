"""Configuration: plain dataclasses for authors, strict loading with the origin of every value for users.

Reading order: ``schema`` (the sections of a run), ``plain`` (dataclasses <-> plain values), ``yaml`` (files and
``key=value`` overrides without YAML 1.1's guesses), ``validate`` (types, unknown keys, all problems at once),
``resolve`` (recipe -> file -> overrides), ``describe`` (help, units and defaults for people).
Recipes import only what is re-exported here; pydantic is imported when a run is resolved, not before.
"""

from repcore.config.schema import (
    DataConfig,
    OptimiserConfig,
    Part,
    RunConfig,
    ScheduleConfig,
    TrainerConfig,
)

__all__ = ["DataConfig", "OptimiserConfig", "Part", "RunConfig", "ScheduleConfig", "TrainerConfig"]
