"""Public archives -> folders as `ecgjepa prepare` reads them; the only room that fetches data over the network."""

from ecgjepa.download.archives import ARCHIVES, Archive
from ecgjepa.download.fetch import Outcome, fetch_files, missing_files
from ecgjepa.download.manifest import RemoteFile, list_files
from ecgjepa.download.names import DownloadError
from ecgjepa.download.room import needed_bytes
from ecgjepa.download.transfer import Patience

__all__ = [
    "ARCHIVES",
    "Archive",
    "DownloadError",
    "Outcome",
    "Patience",
    "RemoteFile",
    "fetch_files",
    "list_files",
    "missing_files",
    "needed_bytes",
]
