"""The commands: arguments in, exit code out. Everything heavy is imported when a command runs, so --help is instant."""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from batchjobs import __version__
from batchjobs.process import leave, stop_on_signals, tune

SDK_LOGGERS = ("openai", "anthropic", "httpx", "httpx2", "httpcore", "httpcore2", "boto3", "botocore", "urllib3")
SDK_SWITCHES = ("OPENAI_LOG", "ANTHROPIC_LOG")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
EXIT_STOPPED = 4  # not finished yet
Command = Callable[..., Any]


class Commands(click.Group):
    """Lists the commands in the order of a night, not of the alphabet."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="batchjobs")
def cli() -> None:
    """Send a night's worth of LLM requests through the providers' batch endpoints at half price.

    Nothing is lost, nothing is paid twice, and the answers are in DuckDB in the morning. Every command can be
    repeated, killed and started again.

    \b
    A night:    batchjobs run deals.jsonl
    Tomorrow:   batchjobs status      batchjobs failures      duckdb results.duckdb
    Rehearse:   batchjobs rehearse deals.jsonl      (no key, no money)

    Exit codes: 0 all items succeeded · 1 unexpected error · 2 usage or bad input · 3 finished, some items failed ·
    4 not finished yet · 5 refused: over budget · 6 provider or store unreachable.
    """


def common(command: Command) -> Command:
    """The options every command has."""
    for option in reversed(
        [
            click.option("--store", metavar="URL", help="Directory or s3://bucket/prefix that keeps the truth."),
            click.option("--results", metavar="FILE", help="The analysts' DuckDB file."),
            click.option("--config", type=click.Path(path_type=Path), help="Settings file [default: batchjobs.toml]."),
            click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, logs on stderr."),
            click.option("-v", "--verbose", is_flag=True, help="More words, and tracebacks."),
        ]
    ):
        command = option(command)
    return command


def choices(command: Command) -> Command:
    """The options that say what to buy, and at most for how much."""
    for option in reversed(
        [
            click.option("--task", metavar="TASK", help="Built-in name, module:object, or a task.toml."),
            click.option("--provider", help="Whom to ask: one of `batchjobs providers`."),
            click.option("--endpoint", help="How to ask: one of the provider's endpoints."),
            click.option("--model", help="Model or deployment [default: the task's choice]."),
            click.option("--price-as", metavar="PROVIDER/MODEL", help="Whose price the model has."),
            click.option("--query", metavar="SQL", help="What to read from a DuckDB file given as INPUT."),
            click.option("--max-cost", metavar="USD", help="Refuse when it could cost more than this."),
            click.option("--canary", type=int, metavar="N", help="Buy N requests first, the rest if they went well."),
            click.option("--max-attempts", type=int, metavar="N", help="How often a request may be bought."),
            click.option("--max-output-tokens", type=int, metavar="N", help="Output limit of the first attempt."),
            click.option("--shard-requests", type=int, metavar="N", help="Most requests in one batch."),
            click.option("--strict/--no-strict", default=None, help="Stop at the first bad item, before buying."),
            click.option("--no-price/--price", default=None, help="Go without estimate and cap."),
        ]
    ):
        command = option(command)
    return command


def watching(command: Command) -> Command:
    """The options of commands that wait."""
    interval = click.option("--interval", type=float, metavar="S", help="Seconds between polls [default: adaptive].")
    rebuy = click.option(
        "--rebuy-unknown/--hold-unknown", default=None, help="Past the grace period, buy again what may be bought."
    )
    return interval(rebuy(command))


@cli.command()
@click.argument("source", metavar="INPUT")
@choices
@click.option("--dry-run", is_flag=True, help="Pack and price, write nothing, buy nothing.")
@common
def submit(source: str, query: str | None, dry_run: bool, **flags: Any) -> int:
    """Pack INPUT into shards and buy them.

    Returns as soon as the provider has them; `poll` and `collect`, or `run`, bring the answers.

    INPUT is JSONL (also .gz, .zst), CSV, Parquet, a DuckDB file with --query, any of these on s3://, or - for
    standard input. Items already answered or in flight are not bought again.
    """
    from batchjobs import actions

    with _session(flags, "submit") as session:
        return actions.submit(session, source, query, dry_run)


@cli.command()
@click.argument("job", required=False)
@click.option("--watch", is_flag=True, help="Go on until the batches have ended, with live progress.")
@watching
@common
def poll(job: str | None, watch: bool, **flags: Any) -> int:
    """Ask how the batches are, send what waits.

    One pass over JOB, or over every open job; with --watch until they have ended.
    """
    from batchjobs import actions

    with _session(flags, "poll") as session:
        return actions.poll(session, job, watch)


@cli.command()
@click.argument("job", required=False)
@common
def collect(job: str | None, **flags: Any) -> int:
    """Fetch and merge what has ended; buy nothing.

    Answers go into DuckDB, retries are planned; the next `poll` or `run` sends them.
    """
    from batchjobs import actions

    with _session(flags, "collect") as session:
        return actions.collect(session, job)


@cli.command()
@click.argument("source", metavar="INPUT")
@choices
@watching
@click.option("--deadline", metavar="WHEN", help="Stop waiting at 07:00, or after 9h; the work goes on.")
@common
def run(source: str, query: str | None, **flags: Any) -> int:
    """The whole night, until done or --deadline.

    Submit, then poll, collect and retry. Run it again after a crash, a reboot or a deadline: it goes on where it was.
    The same command twice is one job.
    """
    from batchjobs import actions

    with _session(flags, "run") as session:
        return actions.run(session, source, query)


@cli.command()
@click.argument("job", required=False)
@common
def status(job: str | None, **flags: Any) -> int:
    """Where jobs stand, from the ledgers alone.

    One JOB shard by shard, or every job of the store. Asks nobody, changes nothing.
    """
    from batchjobs import looks

    with _session(flags, "status") as session:
        return looks.status(session, job)


@cli.command()
@click.argument("job")
@common
def failures(job: str, **flags: Any) -> int:
    """The items of JOB that have no answer, and why.

    Every dead letter with its reason and the place of its raw answer in the store.
    """
    from batchjobs import actions

    with _session(flags, "failures") as session:
        return actions.failures(session, job)


@cli.command()
@click.argument("job")
@click.option("--item", "items", multiple=True, metavar="ID", help="Only this item; may be repeated.")
@click.option("--max-cost", metavar="USD", help="Cap on the whole job, retries included.")
@common
def retry(job: str, items: tuple[str, ...], **flags: Any) -> int:
    """Buy JOB's failed items once more.

    Those and nothing else, under the job's cap; --item picks some of them.
    """
    from batchjobs import actions

    with _session(flags, "retry") as session:
        return actions.retry(session, job, items)


@cli.command()
@click.argument("job")
@common
def cancel(job: str, **flags: Any) -> int:
    """Stop JOB; what was answered is kept.

    Nothing more is sent or retried, and the provider is asked to stop. What it answered before is billed and merged.
    """
    from batchjobs import actions

    with _session(flags, "cancel") as session:
        return actions.cancel(session, job)


@cli.command()
@click.argument("job")
@common
def report(job: str, **flags: Any) -> int:
    """What came of JOB and what it cost.

    With the outcomes of every attempt.
    """
    from batchjobs import looks

    with _session(flags, "report") as session:
        return looks.report(session, job)


@cli.command()
@common
def rebuild(**flags: Any) -> int:
    """Make the DuckDB results anew, row for row.

    From the store alone: no provider is asked, nothing is bought.
    """
    from batchjobs import actions

    with _session(flags, "rebuild") as session:
        return actions.rebuild(session)


@cli.command()
@click.argument("job", required=False)
@common
def verify(job: str | None, **flags: Any) -> int:
    """Prove that nothing is lost or doubled.

    Reads and hashes every object of JOB, or of every job, checks every identity, and compares DuckDB row for row.
    Asks no provider. Names what does not hold, and exits with 1 then.
    """
    from batchjobs import actions

    with _session(flags, "verify") as session:
        return actions.verify(session, job)


@cli.command()
@click.argument("job")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--local-only", is_flag=True, help="Leave the provider's copies to it; needs no key.")
@common
def purge(job: str, yes: bool, local_only: bool, **flags: Any) -> int:
    """Remove JOB's prompts and answers for good.

    At the provider, in the store and in DuckDB; says first what will go, and asks. Item ids, counts, costs and hashes
    stay, so that `report` and `verify` go on working. Submitted again, the items are bought anew. Interrupted, the
    same command finishes it.
    """
    from batchjobs import actions

    with _session(flags, "purge") as session:
        return actions.purge(session, job, yes, local_only)


@cli.command()
@click.option("--task", metavar="TASK", help="Built-in name, module:object, or a task.toml.")
@click.option("--provider", help="Whom to ask: one of `batchjobs providers`.")
@click.option("--endpoint", help="How to ask: one of the provider's endpoints.")
@click.option("--model", help="Model name [default: the task's choice].")
@common
def doctor(**flags: Any) -> int:
    """Check everything before money is spent.

    Settings, task, limits, key, provider, clock, disk, DuckDB, and that the store really keeps what it promises: of 16
    writers that race for one key, one wins. Buys nothing, leaves nothing behind. Exits with 2 where settings or task
    are wrong, with 6 where provider or store are.
    """
    from batchjobs import actions

    with _session(flags, "doctor") as session:
        return actions.doctor(session)


@cli.command()
@common
def providers(as_json: bool, config: Path | None, verbose: bool, **flags: Any) -> int:
    """What each provider takes, keeps and needs.

    Limits of a batch, window, retention, status words, how a lost purchase is looked for, how answers are held to a
    schema, and the variables and settings to set. Packing and sending go by these very figures. Asks nobody.
    """
    from batchjobs import actions

    _quiet_sdks(verbose)
    return actions.list_providers(flags, config, as_json=as_json)


@cli.command()
@click.argument("source", metavar="[INPUT]", required=False)
@choices
@watching
@click.option("--deadline", metavar="WHEN", help="Stop after this long, for example 5m.")
@click.option("--port", type=int, default=0, help="Port of the emulator [default: a free one].")
@click.option("--seed", type=int, default=1, help="Other faults for the same input.", show_default=True)
@click.option("--batch-seconds", type=float, default=4.0, help="How long a batch takes.", show_default=True)
@click.option("--transient", type=float, default=0.0, metavar="SHARE", help="Share of requests that fail once.")
@click.option("--permanent", type=float, default=0.0, metavar="SHARE", help="Share that always fails.")
@click.option("--truncated", type=float, default=0.0, metavar="SHARE", help="Share cut off by the output limit.")
@click.option("--invalid", type=float, default=0.0, metavar="SHARE", help="Share that does not fit the schema.")
@click.option("--refused", type=float, default=0.0, metavar="SHARE", help="Share the model declines.")
@common
def rehearse(source: str | None, query: str | None, **flags: Any) -> int:
    """The night against emulated providers.

    No key, no money, and faults if you like.

    With INPUT it runs the whole night in a store of its own (--store, default ./rehearsal). Without, it serves the
    emulator until Ctrl-C and prints the variables that point the SDKs at it.
    """
    from batchjobs import rehearsal

    return rehearsal.rehearse(lambda rest: _session(rest, "rehearse"), source, query, flags)


def _session(flags: dict[str, Any], name: str) -> Any:
    """Open what a command works with, from its flags."""
    from batchjobs.session import open_session

    as_json, verbose, config = flags.pop("as_json"), flags.pop("verbose"), flags.pop("config")
    _quiet_sdks(verbose)
    return open_session(name, flags, config, as_json=as_json, verbose=verbose)


def _quiet_sdks(verbose: bool) -> None:
    """SDK loggers print prompts at DEBUG (RELIABILITY §1 E6): they never get below WARNING, not even with -v.

    The SDKs read their own switches when they are imported, which is after this.
    """
    for switch in SDK_SWITCHES:
        os.environ.pop(switch, None)
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, stream=sys.stderr)
    for name in SDK_LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)


def main() -> NoReturn:
    """Run a command and end the process with its exit code: the only place that catches what nobody else did."""
    tune()
    asked_to_stop = stop_on_signals()
    verbose = bool({"-v", "--verbose"} & set(sys.argv[1:]))
    try:
        code = cli.main(standalone_mode=False)
    except (KeyboardInterrupt, click.exceptions.Abort):
        code = _stopped()
    except click.ClickException as error:
        code = _refuse(error)
    except SystemExit:  # how click and rich end when nobody reads their output any more, as after `| head`
        code = _say_stopped("Stopped: nobody reads the output any more. The same command goes on from here.")
    except Exception as error:  # noqa: BLE001 -- the edge: one sentence instead of a traceback
        code = _stopped() if asked_to_stop else _explain(error, verbose)  # DuckDB raises its own when interrupted
    leave(code if isinstance(code, int) else 0)


def _stopped() -> int:
    return _say_stopped("Stopped. Batches go on at the provider; the same command goes on from here.")


def _say_stopped(sentence: str) -> int:
    with suppress(OSError):  # perhaps nobody reads this either
        os.write(2, f"\n{sentence}\n".encode())
    return EXIT_STOPPED


def _refuse(error: click.ClickException) -> int:
    from batchjobs.errors import UsageError
    from batchjobs.telling import printable

    context = getattr(error, "ctx", None)
    usage = f"{context.get_usage()}\nTry '{context.command_path} --help'.\n\n" if context else ""
    with suppress(OSError):
        click.echo(f"{usage}Error: {printable(error.format_message())}", err=True)
    return UsageError.exit_code


def _explain(error: Exception, verbose: bool) -> int:
    from batchjobs.errors import BatchJobsError, exit_code_of
    from batchjobs.telling import printable, trace, words_of

    code = exit_code_of(error)
    with suppress(OSError):  # a log on the disk that is full, say: the exit code still tells
        click.echo(f"batchjobs: {printable(words_of(error))}", err=True)
        if verbose and not isinstance(error, BatchJobsError):
            click.echo(printable("".join(trace(error)), keep="\n"), err=True)
        elif code == 1:
            click.echo(f"  ({type(error).__name__}; run again with -v for the traceback)", err=True)
    return code


if __name__ == "__main__":
    main()
