"""`isthmus catalog`: what departments offer."""

from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from isthmus.cli.connection import connect
from isthmus.cli.inputs import dataset_entry
from isthmus.cli.main import EXIT_CODES
from isthmus.cli.output import Json, Limit, document, print_facts, print_json, print_table
from isthmus.v1.catalog_service_pb2 import Dataset
from isthmus.v1.common_pb2 import FieldType, Mode, Sensitivity, SharingClass

app = typer.Typer(
    name="catalog",
    help="What departments offer: list, show, sources, publish, retire.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
)

Name = Annotated[str, typer.Argument(help="departments/DEPARTMENT/datasets/DATASET.")]


@app.command("list")
def list_(
    context: typer.Context,
    department: Annotated[str, typer.Option("--department", help="Only of departments/DEPARTMENT.")] = "",
    retired: Annotated[bool, typer.Option("--retired", help="Retired datasets too.")] = False,
    element: Annotated[str, typer.Option("--element", help="Only datasets with this data element.")] = "",
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List datasets, by name."""
    with connect(context) as client:
        every = client.catalog.list(department, show_retired=retired)
        found = list(islice((each for each in every if _holds(each, element)), limit))
    if as_json:
        print_json({"datasets": [document(each) for each in found]})
        return
    rows = [(each.name, each.title, _class(each), str(len(each.fields)), _status(each)) for each in found]
    print_table(("name", "title", "sharing", "fields", "status"), rows)


@app.command()
def show(context: typer.Context, name: Name, as_json: Json = False) -> None:
    """Show one dataset with its fields."""
    with connect(context) as client:
        _print(client.catalog.get(name), as_json=as_json)


@app.command()
def sources(
    context: typer.Context,
    element: Annotated[str, typer.Argument(help="The code of a data element; all unless given.")] = "",
    limit: Limit = 1000,
    as_json: Json = False,
) -> None:
    """List which dataset is the source (数源) of which data element, by element."""
    with connect(context) as client:
        found = sorted(
            (
                field.element,
                bool(field.second_source_reason),
                dataset.name,
                field.name,
                field.second_source_reason,
            )
            for dataset in client.catalog.list()
            for field in dataset.fields
            if field.source and element in ("", field.element)
        )[:limit]
    if as_json:
        names = ("element", "second", "dataset", "field", "second_source_reason")
        print_json({"sources": [dict(zip(names, each, strict=True)) for each in found]})
        return
    rows = [(code, dataset, field, reason) for code, _, dataset, field, reason in found]
    print_table(("element", "dataset", "field", "why a second source"), rows)


@app.command()
def publish(
    context: typer.Context,
    entry: Annotated[
        Path | None, typer.Argument(help="A TOML or JSON file with one catalogue entry.", dir_okay=False)
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option("--manifest", help="A department's manifest instead.", dir_okay=False)
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Of the manifest only this one. Repeatable.")
    ] = None,
    etag: Annotated[str, typer.Option("--etag", help="Of the revision to replace; any unless given.")] = "",
    as_json: Json = False,
) -> None:
    """Publish a dataset, or a new revision of it; with a manifest every dataset in it."""
    if (entry is None) == (manifest is None):
        raise typer.BadParameter("give either a file with an entry or --manifest")
    datasets = [dataset_entry(entry)] if entry else _of_manifest(manifest or Path(), tuple(dataset or ()))
    if etag and len(datasets) != 1:
        raise typer.BadParameter("an etag belongs to one dataset; choose it with --dataset")
    with connect(context) as client:
        published = [client.catalog.publish(each, etag=etag) for each in datasets]
    if as_json:
        print_json({"datasets": [document(each) for each in published]})
        return
    for each in published:
        typer.echo(f"{each.name} revision {each.revision}, position {each.position}")


@app.command()
def retire(
    context: typer.Context,
    name: Name,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")],
    as_json: Json = False,
) -> None:
    """Take a dataset out of the catalogue; contracts over it stop being usable."""
    with connect(context) as client:
        _print(client.catalog.retire(name, reason=reason), as_json=as_json)


def _of_manifest(path: Path, chosen: tuple[str, ...]) -> list[Dataset]:
    from services.manifest import ManifestError
    from services.manifest_file import load_manifest

    try:
        found = load_manifest(path).datasets_proto()
    except ManifestError as error:
        typer.echo(f"failed: {error}", err=True)
        raise typer.Exit(1) from None
    known = {each.name.rpartition("/")[2]: each for each in found}
    if unknown := sorted(set(chosen) - known.keys()):
        raise typer.BadParameter(f"the manifest has no dataset {unknown[0]}; there are {', '.join(known)}")
    return [known[name] for name in chosen] if chosen else found


def _print(dataset: Dataset, *, as_json: bool) -> None:
    if as_json:
        print_json(document(dataset))
        return
    print_facts(
        {
            "name": dataset.name,
            "title": dataset.title,
            "description": dataset.description,
            "status": _status(dataset),
            "sharing": _class(dataset),
            "citation": dataset.legal_citation,
            "refused because": dataset.refusal_reason,
            "conditions": list(dataset.conditions),
            "purposes": list(dataset.purposes),
            "modes": ", ".join(Mode.Name(each).removeprefix("MODE_") for each in dataset.modes),
            "subject": dataset.subject_scheme,
            "format": dataset.format,
            "updated": dataset.update_frequency,
            "grade": dataset.grade,
            "revision": dataset.revision,
            "etag": dataset.etag,
        }
    )
    typer.echo()
    rows = [
        (
            each.name,
            each.title,
            FieldType.Name(each.type).removeprefix("FIELD_TYPE_").lower(),
            Sensitivity.Name(each.sensitivity).removeprefix("SENSITIVITY_").lower(),
            ", ".join(each.transforms) or "plain",
            each.element + (" (source)" if each.source else ""),
        )
        for each in dataset.fields
    ]
    print_table(("field", "title", "type", "sensitivity", "mildest transforms", "element"), rows)


def _holds(dataset: Dataset, element: str) -> bool:
    return not element or any(field.element == element for field in dataset.fields)


def _class(dataset: Dataset) -> str:
    return SharingClass.Name(dataset.sharing_class).removeprefix("SHARING_CLASS_").lower()


def _status(dataset: Dataset) -> str:
    return "retired" if dataset.retired else "published"
