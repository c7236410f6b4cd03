"""Files in a bucket instead of a directory: an adapter of `stoa.db.blobs` over S3, Google Cloud Storage and Azure."""

from stoa.storage.adapter import BucketBlobs
from stoa.storage.addresses import BucketAddress, BucketConnection
from stoa.storage.bucket import Bucket, BucketRefused, Timeouts, failures
from stoa.storage.checks import bucket_checks, prove
from stoa.storage.copies import Copies
from stoa.storage.moving import Moved, move
from stoa.storage.unfinished import Keys, UnfinishedUploads

__all__ = [
    "Bucket",
    "BucketAddress",
    "BucketBlobs",
    "BucketConnection",
    "BucketRefused",
    "Copies",
    "Keys",
    "Moved",
    "Timeouts",
    "UnfinishedUploads",
    "bucket_checks",
    "failures",
    "move",
    "prove",
]
