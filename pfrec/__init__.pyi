from export.checks.version import verify as verify
from export.client.client import GrpcClient as Client
from export.client.client import RestClient as RestClient
from export.commands.export import export as export
from pfrec.commands.convert import convert as convert
from pfrec.data.dataset.dataset import Dataset as Dataset
from pfrec.data.schema import Schema as Schema
from pfrec.evaluation import evaluate as evaluate
from tff_process.comparison.compare import compare as compare
from tff_process.plan import Plan as Plan
from tff_process.training.loop import train as train

__all__ = [
    "Client",
    "Dataset",
    "Plan",
    "RestClient",
    "Schema",
    "__version__",
    "compare",
    "convert",
    "evaluate",
    "export",
    "train",
    "verify",
]

__version__: str
