"""Sends spans with the real Python SDK: send.py http|grpc ENDPOINT gzip|none COUNT"""
import sys

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

protocol, endpoint, compression, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
if protocol == "http":
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{endpoint}/v1/traces", compression=Compression.Gzip if compression == "gzip" else Compression.NoCompression)
else:
    import grpc
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=endpoint, insecure=True, compression=grpc.Compression.Gzip if compression == "gzip" else grpc.Compression.NoCompression)
provider = TracerProvider(resource=Resource.create({"service.name": "python-shop"}))
provider.add_span_processor(BatchSpanProcessor(exporter))
tracer = provider.get_tracer("exporters")
for number in range(count):
    with tracer.start_as_current_span("INSERT orders") as span:
        span.set_attribute("db.system.name", "postgresql")
        span.set_attribute("db.query.text", f"INSERT INTO orders (id) VALUES ({number})")
provider.shutdown()
