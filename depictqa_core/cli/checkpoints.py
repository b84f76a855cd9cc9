"""The commands about checkpoints: info and import."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from ..backends.vlm_adapter import is_adapter_folder
from ..backends.vlm_loading import is_vlm_folder
from ..chat.endpoint import is_address
from ..errors import DepictQAError, quoted
from ..loading.checkpoint_folder import self_test_notices
from ..reports import text_table
from .outputs import check_outputs, complain, notify, write_answers
from .server import server_options


def info(options: argparse.Namespace) -> int:
    """Run ``depictqa info``; returns the exit status."""
    from ..loading.checkpoint_folder import checkpoint_folder, describe_checkpoint, supported, verify_checkpoint

    check_outputs(options, [])
    if is_address(options.checkpoint):
        return _server_info(options)
    folder = str(checkpoint_folder(options.checkpoint))
    if is_vlm_folder(Path(folder)) or is_adapter_folder(Path(folder)):
        return _vlm_info(options, Path(folder))
    card = (verify_checkpoint if options.verify else describe_checkpoint)(folder)
    if options.self_test:
        from ..judge import load_judge

        card = {**card, "self_test": load_judge(folder).self_test()}
    facts = {"folder": folder, **dict(_flat({key: value for key, value in card.items() if key != "files"}))}
    facts["supports"] = supported(folder)
    for name, file in card["files"].items():
        facts[name] = f"{file['bytes'] / 1e6:.1f} MB, SHA-256 {file['sha256']}{' (verified)' * options.verify}"
    text = _table(facts)
    notices = self_test_notices(card)
    write_answers(options, card, [card], [], lambda *_: text, notices, verified=options.verify)
    return 0


def _server_info(options: argparse.Namespace) -> int:
    from ..judge import load_judge

    judge = load_judge(options.checkpoint, **server_options(options))
    card = {**judge.info, **judge.facts}
    if options.self_test:
        card["self_test"] = judge.self_test()
    notices = [*judge.notices, *(["--verify: a server lists no hashes to compare with"] if options.verify else [])]
    write_answers(options, card, [card], [], lambda *_: _table(dict(_flat(card))), notices)
    return 0


def _table(facts: dict[str, object]) -> str:
    """Facts in two aligned columns."""
    width = max(map(len, facts))
    return "\n".join(f"{key.ljust(width)}  {text_table.printable(str(value))}" for key, value in facts.items())


def _vlm_info(options: argparse.Namespace, folder: Path) -> int:
    from ..backends.vlm_info import describe_adapter, describe_vlm

    adapter = is_adapter_folder(folder)
    card = describe_adapter(folder, options.verify, options.base) if adapter else describe_vlm(folder)
    if options.self_test:
        from ..judge import load_judge

        card = {**card, "self_test": load_judge(folder, base=options.base).self_test()}
    text = _table({"folder": str(folder), **dict(_flat(card))})
    notices = ["--verify: the folder lists no hashes to compare with"] if options.verify and not adapter else []
    write_answers(options, card, [card], [], lambda *_: text, notices)
    return 0


def import_weights(options: argparse.Namespace) -> int:
    """Run ``depictqa import``; returns the exit status."""
    if options.memory:
        from ..loading.memory_needs import memory_table
        from ..published.conversion import full_size_config

        for name in ("projector", "abstractor"):
            print(f"{name}:\n\n{memory_table(full_size_config(name == 'abstractor'))}\n")
        return 0
    files = {name: getattr(options, name) for name in ("clip", "llm", "delta")}
    missing = [f"--{name}" for name, path in {**files, "out": options.check or options.out}.items() if not path]
    if missing and (not options.check or any(files.values())):
        options.refuse(f"missing: {', '.join(missing)}")
    if options.check and options.out:
        options.refuse("--check writes nothing: leave out --out")
    from ..published.conversion import check_layout
    from ..published.importer import import_published

    show = (lambda line: None) if options.quiet else (lambda line: print(text_table.printable(line), flush=True))
    if missing:
        for line in check_layout():
            show(line)
        return 0
    ways = {name: getattr(options, name) for name in ("dtype", "merge", "short", "long", "short_questions")}
    card = import_published(**files, out=options.out, **ways, report=show)
    if options.out:
        show(f"written: {options.out} ({card['variant']}, LoRA {card['lora']})")
        if not options.no_self_test:
            _self_test(options, show)
    return 0


def _self_test(options: argparse.Namespace, show: Callable[[str], None]) -> None:
    """Test a new checkpoint on the sample images and store the coverage of its answers in its card."""
    from ..judge import load_judge
    from ..loading.saving import record_self_test

    show("self-test on the sample images")
    try:
        found = load_judge(options.out).self_test()
    except (DepictQAError, MemoryError, RuntimeError) as error:
        remedy = f"run depictqa info --self-test {options.out} where the checkpoint can be loaded"
        complain(f"notice: the self-test could not run here ({quoted(error)}); {remedy}")
        return
    card = record_self_test(options.out, found)
    show("self-test: coverage " + ", ".join(f"{task} {share:.3g}" for task, share in found.items()))
    notify(options, self_test_notices(card))


def _flat(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield the leaves of nested dicts and lists as (dotted key, value); lists of plain values are one leaf."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and not any(isinstance(item, (dict, list)) for item in value):
        yield key, ", ".join(map(str, value))
    elif isinstance(value, list):
        for place, item in enumerate(value, start=1):
            yield from _flat(item, f"{key}.{place}")
    else:
        yield key, value
