"""Nearest ECGs of an archive by their embeddings: an index on disk, filters, a map of all of them."""

from ecgjepa.search.build import build_index
from ecgjepa.search.description import IndexFolderError
from ecgjepa.search.filters import NO_FILTERS, Filters, QuestionError
from ecgjepa.search.groups import Colours, GroupDescription, LabelCount
from ecgjepa.search.index import Neighbours, SearchIndex
from ecgjepa.search.rows import IndexRow

__all__ = [
    "NO_FILTERS",
    "Colours",
    "Filters",
    "GroupDescription",
    "IndexFolderError",
    "IndexRow",
    "LabelCount",
    "Neighbours",
    "QuestionError",
    "SearchIndex",
    "build_index",
]
