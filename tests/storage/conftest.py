"""The fixtures that several tests of this directory use."""

from tests.storage.stores import flaky_store as flaky_store
from tests.storage.stores import s3_proxy as s3_proxy
from tests.storage.stores import s3_server as s3_server
from tests.storage.stores import s3_url as s3_url
