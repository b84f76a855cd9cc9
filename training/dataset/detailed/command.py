"""The command describe."""

import argparse
import json
import os
from collections import Counter

from ..command_options import named_plan, progress_bar, whole_number_from


def add_describe(parser: argparse.ArgumentParser) -> None:
    """``describe``: ask an endpoint for the detailed answers of a built plan."""
    parser.epilog = (
        "The endpoint is named by DEPICTQA_API_BASE, DEPICTQA_API_MODEL and DEPICTQA_API_KEY. Run build again "
        "afterwards: it puts the answers into the records."
    )
    parser.add_argument("root", help="data root that build --plan has filled")
    parser.add_argument("--plan", required=True, help="the plan file")
    parser.add_argument("--parts", nargs="+", default=[], help="only these sets")
    parser.add_argument("--scale", type=float, default=1.0, help="as given to build")
    parser.add_argument("--limit", type=whole_number_from(1), help="maximum number of requests in this run")
    parser.add_argument("--again", action="store_true", help="request rejected answers once more")
    parser.add_argument("--concurrency", type=whole_number_from(1), default=4, help="parallel requests")
    parser.add_argument(
        "--most-drops",
        type=whole_number_from(1),
        default=30,
        help="stop after this many answers in a row that were dropped (default: %(default)s)",
    )
    parser.add_argument("--per-minute", type=float, help="maximum number of requests per minute")
    parser.add_argument("--timeout", type=float, default=120, help="time limit for one answer in seconds")
    parser.add_argument("--input-price", type=float, help="price per million input tokens, for the estimate")
    parser.add_argument("--output-price", type=float, help="price per million output tokens")
    parser.add_argument("--dry-run", action="store_true", help="print requests (images as sizes) and send nothing")
    parser.add_argument("--yes", action="store_true", help="send the requests instead of only printing the estimate")
    parser.set_defaults(run=_describe, resumes=True, decided_ratings=False, seed=None, form=None)


def _describe(arguments: argparse.Namespace) -> int | None:
    from depictqa_core.chat.client import Client
    from depictqa_core.chat.endpoint import MODEL, Endpoint
    from depictqa_core.chat.messages import shown_request

    from ..building.plan import PlanError
    from .collection import AllDropped, collect, detailed_sets, estimate, pending, request, unbuilt

    plan = named_plan(arguments)
    if not detailed_sets(plan):
        raise PlanError(f"{plan.name} has no detailed answers to ask for: only assessments and comparisons have")
    if missing := unbuilt(arguments.root, plan):
        raise PlanError(f"{arguments.root} has no samples of {', '.join(missing)}: build them first, by the same plan")
    todo = [one for name in detailed_sets(plan) for one in pending(plan, arguments.root, name, arguments.again)]
    todo = todo[: arguments.limit]
    if arguments.dry_run:
        for one in todo:
            shown = shown_request(request(one, os.environ.get(MODEL), arguments.root))
            print(json.dumps({"set": one.set_name, "sample": one.index, **shown}, ensure_ascii=False))
        return None
    if not todo:
        print("every sample has its answer; the next step is build, which puts them into the records")
        return None
    sets = dict.fromkeys(one.set_name for one in todo)
    costs = [estimate(name, [one for one in todo if one.set_name == name]) for name in sets]
    _print_costs(costs, arguments.input_price, arguments.output_price)
    if not arguments.yes:
        print("nothing was sent; add --yes to send the requests")
        return None
    client = Client(Endpoint.from_environment(), arguments.timeout, per_minute=arguments.per_minute)
    with progress_bar(len(todo), "answers") as bar:
        seen: Counter[str] = Counter()

        def show(outcome: str) -> None:
            seen[outcome] += 1
            bar.set_postfix(kept=f"{seen['kept'] / seen.total():.0%}", refresh=False)
            bar.update()

        counts = collect(todo, arguments.root, client, arguments.concurrency, show, arguments.most_drops)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()))
    if not counts["kept"]:
        raise AllDropped(f"none of {counts.total()} answers was kept: the reasons are above; nothing is left to build")
    print("run build again: it puts the answers into the records")
    return None


def _print_costs(costs: list, input_price: float | None, output_price: float | None) -> None:
    priced = input_price is not None and output_price is not None
    print(
        f"{'set':<22}{'requests':>10}{'input tokens':>15}{'output tokens':>15}" + (f"{'money':>12}" if priced else "")
    )
    total: Counter[str] = Counter()
    spent = 0.0
    for cost in costs:
        line = f"{cost.set_name:<22}{cost.requests:>10,}{cost.input_tokens:>15,}{cost.output_tokens:>15,}"
        money = cost.money(input_price, output_price) if priced else 0.0
        print(line + (f"{money:>12,.2f}" if priced else ""))
        total.update(requests=cost.requests, i=cost.input_tokens, o=cost.output_tokens)
        spent += money
    line = f"{'total':<22}{total['requests']:>10,}{total['i']:>15,}{total['o']:>15,}"
    print(line + (f"{spent:>12,.2f}" if priced else "  (give --input-price and --output-price for money)"))
