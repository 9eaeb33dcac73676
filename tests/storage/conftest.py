"""The fixtures that several tests of this directory use."""

from tests.storage.sources import given as given
from tests.storage.sources import spool as spool
from tests.storage.stores import flaky_store as flaky_store
from tests.storage.stores import s3_proxy as s3_proxy
from tests.storage.stores import s3_server as s3_server
from tests.storage.stores import s3_store as s3_store
from tests.storage.stores import s3_url as s3_url
