"""``repcore``: routing, error handling and exit codes. Command modules are imported when their command is called.

Exit codes: 0 done, 1 a check failed (doctor, verify, a strict embedding), 2 bad usage or input, 128 + signal stopped
(130 for Ctrl-C, 143 for SIGTERM).
"""

from __future__ import annotations

import copy
import importlib
import io
import multiprocessing
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click

from repcore import stopping
from repcore.cli.console import complain, open_missing_streams, show_trace
from repcore.cli.ending import ended, make_warnings_printable, unexpected
from repcore.cli.outputs_apart import writing_apart
from repcore.credentials import held
from repcore.errors import PluginError, RepcoreError, closest, told_to_a_shell
from repcore.launching import COMMAND, is_first_process
from repcore.plugins import core_version
from repcore.reporting import Wait
from repcore.specs import GENERIC

COMMANDS = {
    "list": ("repcore.cli.listing:list_command", "What is installed: encoders, objectives, data sets, recipes, ..."),
    "show": ("repcore.cli.showing:show_command", "One registered thing, or a recipe's settings with their origin."),
    "plugins": ("repcore.cli.plugin_health:plugins_command", "Installed plugins and their health (--doctor)."),
    "demo": ("repcore.cli.demo:demo_command", "Train, embed, probe and report on data that comes with a plugin."),
    "plan": ("repcore.cli.plan:plan_command", "What a run will cost: steps, hours, memory, storage, from trial steps."),
    "embed": ("repcore.cli.embed:embed_command", "Embeddings for every row of a data set."),
    "predict": (
        "repcore.cli.predict:predict_command",
        "Predictions of a fine-tuned model for every row of a data set.",
    ),
    "export": (
        "repcore.cli.export:export_command",
        "A model as one file (torch.export, ONNX) that runs without repcore.",
    ),
    "probe": ("repcore.cli.probe:probe_command", "What frozen features know, beside honest baselines."),
    "fit": ("repcore.cli.estimators:fit_command", "Fit an estimator (anomaly scores, dictionaries, ...) on features."),
    "apply": ("repcore.cli.estimators:apply_command", "A fitted estimator's results for every row of a data set."),
    "index": ("repcore.cli.searching:index_command", "Vectors of a data set as a folder that can be searched."),
    "search": ("repcore.cli.searching:search_command", "What is most like this file, id, row or input?"),
    "explore": (
        "repcore.cli.exploring:explore_command",
        "A page to walk through embedded items: map, colours, lasso, items drawn.",
    ),
    "compare": ("repcore.cli.comparing:compare_command", "Models side by side on the same rows: quality, cost, items."),
    "audit": ("repcore.cli.auditing:audit_command", "Copies, leaks, outliers, doubtful labels, thin coverage."),
    "runs": ("repcore.cli.comparing:runs_command", "Runs of a folder with their key figures."),
    "compat": (
        "repcore.cli.compat:compat_command",
        "Do vectors of a new version of a model find what an old one stored?",
    ),
    "import": (
        "repcore.cli.importing:import_command",
        "A published checkpoint into a model folder, every key accounted for.",
    ),
    "pull": (
        "repcore.cli.pulling:pull_command",
        "Published weights by name: downloaded when asked, verified, imported.",
    ),
    "verify": ("repcore.cli.verify:verify_command", "Replay a system on golden data from the authors' code."),
    "bench": ("repcore.cli.bench:bench_command", "Equality and speed of all implementations of the ops."),
    "report": ("repcore.cli.report:report_command", "A self-contained HTML report of a run."),
    "inspect": ("repcore.cli.inspect:inspect_command", "What a path holds and what is wrong with it, before training."),
    "new-plugin": ("repcore.cli.new_plugin:new_plugin_command", "Write a working plugin to start from."),
}
DOMAIN_COMMANDS = {
    "train": ("repcore.cli.train:train_command", "Pre-train a recipe, or resume a run."),
    "finetune": ("repcore.cli.finetune:finetune_command", "Train a model on labels."),
    "prepare": (
        "repcore.cli.prepare:prepare_command",
        "Do the slow preparation of a data set once, ahead of training.",
    ),
}
COMPLETING = "_REPCORE_COMPLETE"
"""Environment variable by which a shell asks what to complete."""
EPILOG = (
    "Domains are commands, too: repcore DOMAIN train RECIPE. Start with `repcore list`; every command explains itself "
    "with --help. Add --debug anywhere for tracebacks."
)


def load_target(target: str) -> click.Command:
    """Import a click command from ``module:attribute``."""
    module, _, attribute = target.partition(":")
    command: click.Command = getattr(importlib.import_module(module), attribute)
    return command


def _taking_once(command: click.Command) -> click.Command:
    """The command, to which an option of one value is given once: of several, all but the last would be lost without a
    word."""
    if "make_parser" in vars(command):  # called before in this process
        return command
    made = command.make_parser

    def make_parser(ctx: click.Context) -> Any:
        parser = made(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            found = parse(args)
            for one, count in Counter(found[2]).items():
                if count > 1 and isinstance(one, click.Option) and not (one.multiple or one.is_flag or one.count):
                    raise click.UsageError(f"{one.opts[0]} is given {count} times, and takes one value", ctx)
            return found

        parser.parse_args = parse_args  # type: ignore[method-assign]
        return parser

    command.make_parser = make_parser  # type: ignore[method-assign]
    for inner in getattr(command, "commands", {}).values():
        _taking_once(inner)
    return command


def _for_shell(ctx: click.Context, command: click.Command) -> click.Command:
    """The command as it is called; where a shell asks what to complete, with the words that it knows."""
    if not ctx.resilient_parsing:
        return writing_apart(_taking_once(command))
    from repcore.cli.completion import completing

    return completing(command)


class RootGroup(click.Group):
    """Core commands, then one group a domain."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        from repcore import registry

        return [*COMMANDS, *registry.default().domains()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            return _for_shell(ctx, load_target(COMMANDS[cmd_name][0]))
        from repcore import registry

        if cmd_name in registry.default().domains():
            return DomainGroup(cmd_name)
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from repcore import registry

        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])
        known = registry.default()
        rows = [(domain, _domain_summary(known, domain)) for domain in known.domains()]
        missing = [domain for domain in registry.installable_domains() if domain not in known.domains()]
        rows += [(domain, f"not installed: {registry.install_command(domain)}") for domain in missing]
        with formatter.section("Domains"):
            formatter.write_dl(rows or [("(none)", "no plugin is installed")])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise unknown_command(args[0])
        return super().resolve_command(ctx, args)


def unknown_command(name: str) -> RepcoreError:
    """Why a first word is no command: a domain not installed, a plugin that failed, or a typing error."""
    from repcore import registry

    known = registry.default()
    for record in known.records:
        if name in (record.name, record.domain) and record.problem:
            return PluginError(
                f"domain {name!r} is not available: plugin {record.label} is not loaded ({record.status})",
                problem=record.problem,
                hint=record.remedy,
            )
    if name in registry.installable_domains():
        return PluginError(f"domain {name!r} is not installed", hint=registry.install_command(name))
    if name in DOMAIN_COMMANDS:
        domains = ", ".join(known.domains()) or "none is installed"
        return UsageError(f"{name!r} needs its domain in front", domains=domains, hint=f"repcore DOMAIN {name} --help")
    words = [*COMMANDS, *known.domains(), *registry.installable_domains()]
    return UsageError(f"no command {name!r}", did_you_mean=closest(name, words), hint="repcore --help")


class UsageError(RepcoreError, ValueError):
    """The command line itself cannot be understood."""


def unknown_option(error: click.NoSuchOption) -> UsageError:
    """The option as typed, and the one that is meant: click names everything that is remotely alike, by alphabet."""
    assert error.ctx is not None  # click raises it while it parses a command's words
    known = {one.lstrip("-"): one for parameter in error.ctx.command.params for one in parameter.opts}
    path = error.ctx.command_path
    return UsageError(
        f"{path} has no option {error.option_name!r}",
        did_you_mean=known.get(closest(error.option_name.lstrip("-"), known)),
        hint=f"{path} --help",
    )


def _domain_summary(known: Any, domain: str) -> str:
    for record in known.records:
        if record.info is not None and record.domain == domain:
            return str(record.info.summary or record.info.title)
    return ""


class DomainGroup(click.Group):
    """``repcore <domain> ...``: train, finetune, prepare, and the plugin's own commands."""

    def __init__(self, domain: str) -> None:
        super().__init__(name=domain, help=f"Train and fine-tune in the {domain} domain, and its own commands.")
        self.domain = domain

    def list_commands(self, ctx: click.Context) -> list[str]:
        from repcore import registry

        own = [entry.spec.name for entry in registry.default().entries("command", self.domain)]
        return [*DOMAIN_COMMANDS, *own]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        ctx.obj = self.domain
        if cmd_name in DOMAIN_COMMANDS:
            return _for_shell(ctx, self._in_its_words(load_target(DOMAIN_COMMANDS[cmd_name][0])))
        from repcore import registry

        for entry in registry.default().entries("command", self.domain):
            if entry.spec.name == cmd_name:
                command: click.Command = entry.load()
                return _for_shell(ctx, command)
        return None

    def _in_its_words(self, command: click.Command) -> click.Command:
        """The command with examples that name this domain and one of its recipes, so that they can be copied."""
        from repcore import registry

        if self.domain == GENERIC:
            return command
        recipes = [one.spec.name for one in registry.default().entries("recipe", self.domain)]
        text = command.help or ""
        for verb in ("train", "prepare"):
            text = text.replace(f"repcore DOMAIN {verb} RECIPE", f"repcore DOMAIN {verb} {(*recipes, 'RECIPE')[0]}")
        told = copy.copy(command)
        told.help = text.replace("repcore DOMAIN ", f"repcore {self.domain} ")
        return told

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        from repcore import registry

        rows = [(name, text) for name, (_, text) in DOMAIN_COMMANDS.items()]
        rows += [(one.spec.name, one.spec.summary) for one in registry.default().entries("command", self.domain)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        recipes = registry.default().entries("recipe", self.domain)
        rows = [(one.spec.name, f"{one.spec.summary} ({', '.join(one.spec.presets)})") for one in recipes]
        with formatter.section("Recipes"):
            formatter.write_dl(rows or [("(none)", self._without_recipes())])

    def _without_recipes(self) -> str:
        if self.domain == GENERIC:
            return "objectives go into the recipe of another domain: repcore DOMAIN train RECIPE objective=NAME"
        return f"see `repcore list --domain {self.domain}`"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None:
            raise UsageError(
                f"{self.domain} has no command {args[0]!r}",
                did_you_mean=closest(args[0], self.list_commands(ctx)),
                hint=f"repcore {self.domain} --help",
            )
        return super().resolve_command(ctx, args)


@click.group(cls=RootGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(core_version(), prog_name="repcore")
@click.option("--no-plugin", "without", multiple=True, metavar="NAME", help="Leave out a plugin (repeatable).")
@click.pass_context
def root(ctx: click.Context, without: tuple[str, ...]) -> None:
    """Learn, embed and probe representations from unlabelled scientific and sensory data."""
    if without:
        from repcore import registry
        from repcore.plugins import DISABLE_LIST

        earlier = os.environ.get(DISABLE_LIST, "")
        os.environ[DISABLE_LIST] = ",".join(filter(None, [earlier, *without]))
        registry.refresh()
    if ctx.invoked_subcommand != "plugins":
        warn_about_plugins()


def warn_about_plugins() -> None:
    """One line on standard error for each plugin that is not in order, and for each name that is no plugin's."""
    from repcore import registry
    from repcore.errors import closest
    from repcore.plugins import HEALTHY, unknown_names

    records = registry.default().records
    for name, variable in unknown_names(records):
        near = closest(name, [record.name for record in records])
        meant = f"; did you mean {near}?" if near else ""
        complain(f"repcore: no plugin is called {name!r} ({variable} or --no-plugin){meant}")
    for record in records:
        if record.status == "duplicate":
            complain(f"repcore: {record.problem}. Run: repcore plugins --doctor")
        elif record.status not in HEALTHY:
            what = "is not loaded" if not record.specs and not record.info else f"has a problem: {record.status}"
            complain(f"repcore: plugin {record.name!r} {what} ({record.problem}). Run: repcore plugins --doctor")


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console script; never shows a traceback unless asked."""
    open_missing_streams()
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    debug = "--debug" in arguments or os.environ.get("REPCORE_DEBUG") == "1"
    arguments = [held(one) for one in arguments if one != "--debug"]  # credentials are neither shown nor written down
    if not debug:  # torch's advice to its own developers, which it writes past everything; before torch is loaded
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    begun = COMMAND.set(tuple(arguments))
    make_warnings_printable(tracebacks=debug)
    if COMPLETING in os.environ:
        importlib.import_module("repcore.cli.completion")  # says how a shell is answered
    Wait.say = complain if is_first_process() and multiprocessing.parent_process() is None else None
    try:
        with stopping.obeyed(), told_to_a_shell():
            result = root.main(arguments, prog_name="repcore", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as error:
        return int(error.exit_code)
    except click.NoSuchOption as error:
        complain(f"UsageError: {unknown_option(error)}")
        return 2
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        complain(told.getvalue().rstrip())
        return 2
    except (KeyboardInterrupt, click.Abort, SystemExit, BrokenPipeError) as error:
        return ended(error, arguments)
    except RepcoreError as error:
        if debug:
            show_trace()
        with told_to_a_shell():
            complain(f"{type(error).__name__}: {error}")
        return 2
    except Exception as error:
        if debug:
            show_trace()
        complain(unexpected(error))
        return 2
    finally:
        COMMAND.reset(begun)
