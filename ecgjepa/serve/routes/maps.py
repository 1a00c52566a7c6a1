"""The map of the archive: places, colours, groups. What is large is made once and kept as bytes, gzipped too."""

import gzip
import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ecgjepa.search import SearchIndex
from ecgjepa.serve import examples
from ecgjepa.serve.refusals import NoAnswerError, documented
from ecgjepa.serve.schemas import Answer, Group, LabelCount, MapColours, MapPoints
from ecgjepa.serve.shared import JSON, Serving, Shared, json_answer

router = APIRouter(prefix="/api", tags=["map"])
# Of a place, what is told of it: a ten-thousandth of the width of the map is below a pixel.
STEPS_OF_MAP = 1e4
GZIP_LEVEL = 6
MOST_CORNERS = 10_000


class GroupAsked(BaseModel):
    """Which rows: inside a polygon on the map, or named, or both together."""

    model_config = ConfigDict(extra="forbid")

    # Without `fail_fast`, a million wrong ones are a million errors of a kilobyte.
    polygon: list[tuple[float, float]] | None = Field(
        None, min_length=3, max_length=MOST_CORNERS, fail_fast=True, description="corners on the map, closed by itself"
    )
    rows: list[Annotated[int, Field(ge=0, le=2**40)]] | None = Field(
        None, fail_fast=True, description="rows of the index"
    )


_GROUP_EXAMPLE = {"polygon": [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]}


@router.get(
    "/map",
    response_model=MapPoints,
    responses=documented(404, example=examples.MAP_POINTS),
    summary="Places of all rows",
)
async def give_map(serving: Shared, request: Request) -> Response:
    """Places of all rows on the map, in the order of the rows; gzipped where the client takes it."""
    index = _with_map(serving)
    return await _kept(serving, request, "map", lambda: points_of(index))


@router.get(
    "/map/colours",
    response_model=MapColours,
    responses=documented(404, example=examples.MAP_COLOURS),
    summary="Colours of all rows",
)
async def give_colours(
    serving: Shared, request: Request, by: Annotated[Literal["label", "age", "sex", "source"], Query()] = "label"
) -> Response:
    """What the points are coloured by: the first label of each row, its age, sex or source."""
    index = serving.index

    def make() -> MapColours:
        colours = index.colours(by)
        return MapColours(
            by=by, names=colours.names, codes=colours.codes, values=colours.values, unit=colours.unit
        )  # fmt: skip

    return await _kept(serving, request, f"colours-{by}", make)


@router.post(
    "/groups",
    response_model=Group,
    responses=documented(404, example=examples.GROUP),
    summary="What a group of rows is made of",
)
async def describe_group(
    serving: Shared, asked: Annotated[GroupAsked, Body(examples=[_GROUP_EXAMPLE, {"rows": [0, 1, 2]}])]
) -> Response:
    """Label counts, sexes, sources and ages of the rows inside a polygon on the map, or of rows that are named."""
    if asked.polygon is None and asked.rows is None:
        raise NoAnswerError(422, "wrong_parameter", "neither a polygon nor rows, expected one of them at least")
    if asked.polygon is not None:
        _with_map(serving)
    return json_answer(await serving.search(_describe, serving.index, asked))


def _describe(index: SearchIndex, asked: GroupAsked) -> Group:
    rows = np.array(asked.rows or [], dtype=np.int64)
    if asked.polygon is not None:
        corners_V2 = np.array(asked.polygon, dtype=np.float64)
        rows = np.concatenate([index.inside(corners_V2), rows])
    rows = np.unique(rows)
    group = index.describe(rows)
    return Group(
        rows=rows.tolist(),
        count=group.count,
        labels=[LabelCount(label=each.label, count=each.count, of_all=each.of_all) for each in group.labels],
        sexes=group.sexes,
        sources=group.sources,
        age_quartiles=group.age_quartiles,
    )


def points_of(index: SearchIndex) -> MapPoints:
    """Places, as short as they can be told apart."""
    assert index.places_R2 is not None, "see _with_map"
    places_R2 = np.asarray(index.places_R2, dtype=np.float64)
    span = float(np.ptp(places_R2, axis=0).max()) if len(places_R2) else 1.0
    decimals = max(0, math.ceil(math.log10(STEPS_OF_MAP / span))) if span > 0 else 0
    rounded_R2 = np.round(places_R2, decimals)
    return MapPoints(x=rounded_R2[:, 0].tolist(), y=rounded_R2[:, 1].tolist())


def _with_map(serving: Serving) -> SearchIndex:
    if serving.index.places_R2 is None:
        raise NoAnswerError(404, "no_map", "the index has no map; it was made with --no-map")
    return serving.index


async def _kept(serving: Serving, request: Request, key: str, make: Callable[[], Answer]) -> Response:
    """An answer that is always the same, as the client takes it."""
    takes_gzip = "gzip" in request.headers.get("accept-encoding", "")

    def bytes_of() -> bytes:
        if key not in serving.kept:
            serving.kept[key] = make().model_dump_json().encode()
        if takes_gzip and f"{key}.gz" not in serving.kept:
            serving.kept[f"{key}.gz"] = gzip.compress(serving.kept[key], GZIP_LEVEL, mtime=0)
        return serving.kept[f"{key}.gz" if takes_gzip else key]

    content = await run_in_threadpool(bytes_of)
    headers = {"Vary": "Accept-Encoding"} | ({"Content-Encoding": "gzip"} if takes_gzip else {})
    return Response(content, headers=headers, media_type=JSON)
