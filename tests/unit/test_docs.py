"""The documents: their commands exist, their examples run, their links lead somewhere, and they hide nothing that must not be there."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from broadcast import settings
from broadcast.alert import Level
from broadcast.channels import CHANNELS, feature_matrix
from broadcast.channels.loopback import masked
from broadcast.cli import app, main
from broadcast.delivery import State
from broadcast.ledger.tables import metadata
from broadcast.queue import LANES

ROOT = Path(__file__).parents[2]
README, CLI, HOW = ROOT / "README.md", ROOT / "docs" / "cli.md", ROOT / "docs" / "how-it-works.md"
DECISIONS = sorted((ROOT / "docs" / "adr").glob("*.md"))
PAGES = [README, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]
OUR_PAGES = [page for page in PAGES if page != CLI]  # cli.md has a test of its own beside the command line

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACEHOLDER = re.compile(r"…|\bDIR\b|\bFILE\b")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    return [text for kind, text in _FENCE.findall(page.read_text("utf-8")) if kind == language]


def outside_fences(page: Path) -> str:
    return _FENCE.sub("", page.read_text("utf-8"))


# --- commands


def shell_commands(page: Path) -> Iterator[str]:
    """The command lines of a page's sh blocks, and those that stand in backticks in its text."""
    for block in fences(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.split(r"\s(?:&&|\|)\s", line)
    for quoted in re.findall(r"`([^`]+)`", outside_fences(page)):
        words = " ".join(quoted.split())
        if re.match(r"(broadcast|make) ", words) and not _PLACEHOLDER.search(words):
            yield words


def words_of(line: str) -> list[str]:
    """The words of a command, without comment and without what is set in front of it."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    return words


COMMANDS = [
    pytest.param(words, id=f"{named(page)}: {' '.join(words)}")
    for page in OUR_PAGES
    for line in shell_commands(page)
    if (words := words_of(line)) and words[0] != "export"
]


VALUES: dict[str, tuple[str, ...]] = {"--level": tuple(Level), "--state": tuple(State), "--channel": CHANNELS, "--lane": LANES}


def take_options(words: list[str], command: Any, path: str) -> list[str]:
    """Checks the options of one command; returns what is left: its arguments, or a group's command and all after it."""
    known = {name: option for option in command.params if option.param_type_name == "option" for name in option.opts}
    rest: list[str] = []
    words = list(words)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            if below(command):
                return [*rest, *words]
            continue
        name, equals, value = word.partition("=")
        assert name in known, f"`{path}` has no option {name}"
        if known[name].is_flag:
            continue
        assert equals or words, f"`{path} {name}` needs a value"
        given = value if equals else words.pop(0)
        assert given in VALUES.get(name, (given,)), f"`{path} {name}` is one of {', '.join(VALUES[name])}"
    return rest


def below(command: Any) -> Mapping[str, Any]:
    """The commands of a group; a command has none."""
    return getattr(command, "commands", {})


def check_broadcast(words: list[str]) -> None:
    command, path = typer.main.get_command(app), "broadcast"
    rest = take_options(words, command, path)
    while below(command) and rest:  # `broadcast ledger` alone speaks of the group
        assert rest[0] in below(command), f"`{path}` has no command {rest[0]}"
        command, path = below(command)[rest[0]], f"{path} {rest[0]}"
        rest = take_options(rest[1:], command, path)
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    assert len(rest) <= len(arguments), f"`{path}` takes {len(arguments)} arguments, not {rest}"


def check_python(words: list[str]) -> None:
    assert (ROOT / words[0]).is_file(), words[0]
    known = (ROOT / words[0]).read_text("utf-8")
    for option in [word for word in words if word.startswith("--")]:
        assert f'"{option}"' in known, f"{words[0]} has no option {option}"


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_in_the_documents_exists_with_its_options(words):
    if words[0] == "broadcast":
        check_broadcast(words[1:])
    elif words[0] == "make":
        targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
        assert set(words[1:]) <= targets
    elif words[0] == "python":
        check_python(words[1:])
    else:
        raise AssertionError(f"nobody checks {words[0]!r} here")


@pytest.mark.parametrize(
    "line",
    [
        "broadcast --home x nothing",
        "broadcast send a.xml --sauce met",
        "broadcast status 1 2",
        "broadcast approve 3 --level pink",
    ],
)
def test_a_command_that_does_not_exist_would_be_found(line):
    with pytest.raises(AssertionError):
        check_broadcast(words_of(line)[1:])


def test_the_readme_shows_the_commands_of_the_first_steps():
    shown = {words[0][len("broadcast ") :] for words in [[" ".join(words_of(line)[:2])] for line in shell_commands(README)]}
    assert {"demo", "init", "simulate", "up", "preview", "send", "status", "approve", "test", "ledger", "health"} <= shown


def test_every_environment_variable_in_the_documents_is_read_by_somebody():
    def envvars(command: Any) -> Iterator[str]:
        for each in command.params:
            yield from [each.envvar] if isinstance(each.envvar, str) else each.envvar or []
        for each in below(command).values():
            yield from envvars(each)

    known = {f"BROADCAST_{name.upper()}" for name in settings.Environment.model_fields} | set(
        envvars(typer.main.get_command(app))
    )
    for page in PAGES:
        assert set(re.findall(r"\bBROADCAST_[A-Z_]+\b", page.read_text("utf-8"))) <= known, named(page)


# --- examples


@pytest.fixture
def beside_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an example home `county` in it, where the reader of the README stands."""
    for name in [name for name in os.environ if name.startswith("BROADCAST_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    assert main(["init", "county", "--example", "deqing", "--size", "S"]) == 0
    return tmp_path


@pytest.mark.usefixtures("beside_a_home")
def test_the_python_examples_of_the_readme_answer_what_it_says():
    examples = fences(README, "python")
    assert examples
    for n, text in enumerate(examples):
        parsed = doctest.DocTestParser().get_doctest(text, {}, f"README.md, python example {n + 1}", "README.md", 0)
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        said: list[str] = []
        found = runner.run(parsed, out=said.append)
        assert found.attempted > 0, parsed.name
        assert found.failed == 0, "".join(said)


def test_the_settings_of_a_live_provider_in_the_readme_are_accepted(beside_a_home, monkeypatch):
    home = beside_a_home / "live"
    home.mkdir()
    (home / "callback.secret").write_text("path-secret\n", encoding="utf-8")
    (home / "provider-ca.pem").touch()
    monkeypatch.setenv("MAS_SECRET", "contract-secret")
    (text,) = fences(README, "toml")
    (home / "broadcast.toml").write_text(f'[county]\nname = "德清县"\nsignature = "德清应急"\n\n{text}', encoding="utf-8")

    found = settings.load(home)

    (peer,) = found.peers
    assert (peer.channel, peer.protocol, peer.simulated) == ("sms", "mas", False)
    assert peer.options.secret_key.get_secret_value() == "contract-secret"
    assert peer.options.ca_file == home / "provider-ca.pem"
    assert found.server.callbacks == {"mas-1": "path-secret"}
    assert found.server.allow


def test_the_exit_codes_of_the_readme_are_those_of_the_command_line():
    def codes(page: Path) -> set[str]:
        table = re.search(r"^\| exit code .*?(?=^\s*$)", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        assert table, named(page)
        return set(re.findall(r"^\| (\d+) \|", table[0], re.MULTILINE))

    assert codes(README) == codes(CLI)


# --- how it works


def test_the_feature_matrix_is_printed_from_the_capabilities():
    assert feature_matrix() in HOW.read_text("utf-8")


def test_how_it_works_names_every_room_every_table_and_every_state():
    page = HOW.read_text("utf-8")
    rooms = {path.stem for path in (ROOT / "broadcast").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

    assert not {room for room in rooms - {"__init__"} if not re.search(rf"\b{room}\b", page)}
    assert not {table for table in metadata.tables if f"`{table}`" not in page}
    assert not {str(state) for state in State if f"`{state}`" not in page}


# --- decisions


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_every_decision_has_its_four_parts_and_each_option_what_speaks_for_and_against_it(page):
    text = page.read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Options", "Choice", "Consequences"]
    options = text.split("## Options\n")[1].split("## Choice\n")[0]
    asked = re.split(r"^\*\*\d\. ", options, flags=re.MULTILINE)[1:]
    assert len(asked) >= 2
    for option in asked:
        assert option.count("For: ") == option.count("Against: ") == 1, option


def test_decisions_are_numbered_without_gaps_and_named_after_their_titles():
    assert [int(page.name[:4]) for page in DECISIONS] == list(range(1, len(DECISIONS) + 1))
    for page in DECISIONS:
        title = page.read_text("utf-8").splitlines()[0].removeprefix("# ").lower()
        assert page.stem[5:].split("-")[0] in title, named(page)


# --- links


def links(page: Path) -> list[str]:
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", outside_fences(page)) if not re.match(r"[a-z]+:", link)]


def anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", outside_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page):
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_document_can_be_reached_from_the_readme_or_from_how_it_works():
    reached = {(page.parent / link.partition("#")[0]).resolve() for page in (README, HOW) for link in links(page)}
    assert [named(page) for page in (ROOT / "docs").rglob("*") if page.is_file() and page.resolve() not in reached] == []


# --- what must not be there


def tracked() -> Iterator[tuple[str, str]]:
    """The name and text of each file of the repository; files that are not text have none."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a checkout: nobody says which files are ours")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            yield name, (ROOT / name).read_bytes().decode("utf-8", "ignore")


# Written in pieces, so that this file does not find itself.
A_HOME = re.compile(r"(?<![\w.:/])/(?:" + "|".join(("work", "root", "home", "Users")) + r")/\w")
A_PHONE = re.compile(r"(?<![\d+])(?:\+?86)?(1[3-9]\d{9})(?!\d)")
# Numbers that look real, to see that they are masked or refused. Nothing can dial from where they stand.
SEEN_ONLY = {("tests/unit/test_roster.py", "138****0002"), ("tests/unit/test_roster.py", "160****0002")}


def test_no_file_names_a_folder_of_the_machine_it_was_written_on():
    found = [f"{name}: {match[0]}" for name, text in tracked() for match in A_HOME.finditer(text)]
    assert found == []


def test_no_file_holds_a_phone_number_that_could_be_somebodys():
    found = [
        f"{name}: {masked(match[1])}"
        for name, text in tracked()
        if not name.endswith((".csv", ".tar"))  # the octal fields of a tar look like numbers
        for match in A_PHONE.finditer(text)
        if not match[1].startswith(("154", "194")) and (name, masked(match[1])) not in SEEN_ONLY
    ]
    assert found == []


def test_what_must_not_be_there_would_be_found():
    assert A_HOME.search("see " + "/" + "home" + "/me/x") and not A_HOME.search("https://a.example/home/x")
    assert A_PHONE.search("+86" + "139" + "1234" + "0002") and not A_PHONE.search("33052141600000_20230705063100")
