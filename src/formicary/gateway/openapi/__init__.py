"""OpenAPI 3.1 from protobuf descriptors, and a page that shows it without any other host.

``openapi_document(services, title=…, version=…)`` makes the document; ``docs_page(title, url)`` the page.
"""

from formicary.gateway.openapi.comments import descriptor_set
from formicary.gateway.openapi.docs_page import PageFile, docs_page
from formicary.gateway.openapi.document import openapi_document
from formicary.gateway.openapi.operations import Security

__all__ = ["PageFile", "Security", "descriptor_set", "docs_page", "openapi_document"]
