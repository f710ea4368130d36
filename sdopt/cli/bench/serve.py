"""``sdopt bench serve``: measure a running server."""

from __future__ import annotations

import json
import time

import click


@click.command("serve")
@click.argument("url")
@click.option("--prompt", default="a large red circle on a blue background", show_default=True)
@click.option("--size", help="WIDTHxHEIGHT.  [default: the bundle's]")
@click.option("--steps", "num_inference_steps", type=click.IntRange(1), help="Inference steps.")
@click.option("--requests", default=50, show_default=True, type=click.IntRange(1), help="In all.")
@click.option(
    "--clients", default=4, show_default=True, type=click.IntRange(1), help="That wait in turn."
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Arrivals a second that wait for nobody (Poisson), in place of --clients.",
)
@click.option("--deadline", default=10.0, show_default=True, help="Seconds of a good answer.")
@click.option("--stream", is_flag=True, help="Ask for partial images, and time the first.")
@click.option("--check", metavar="BUNDLE", help="Make every picture again alone, and compare.")
@click.option("--api-key", envvar="SDOPT_API_KEY", help="Of the server.")
def command(
    *,
    url: str,
    requests: int,
    clients: int,
    rate: float | None,
    deadline: float,
    stream: bool,
    check: str | None,
    api_key: str | None,
    **fields: str | int | None,
) -> None:
    """Send requests to the server at URL, and print percentiles as JSON."""
    from sdopt.bench.alone import different_pictures
    from sdopt.bench.client import Ask, Client
    from sdopt.bench.load import closed_loop, open_loop, poisson_times
    from sdopt.bench.summary import summary

    body = {name: value for name, value in fields.items() if value is not None}
    if stream:
        body |= {"stream": True, "partial_images": 3}
    times = poisson_times(rate, requests) if rate else [0.0] * requests
    asks = [Ask(body=body | {"seed": seed}, after_s=after) for seed, after in enumerate(times)]
    client, begin = Client(url, key=api_key), time.monotonic()
    answers = open_loop(client, asks) if rate else closed_loop(client, asks, clients)
    report = summary(answers, time.monotonic() - begin, deadline)
    report["load"] = {"rate_per_s": rate} if rate else {"clients": clients}
    if check:
        import sdopt

        report["different_from_alone"] = len(different_pictures(sdopt.load(check), answers))
    click.echo(json.dumps(report, indent=2))
