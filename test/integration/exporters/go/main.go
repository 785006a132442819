// Sends spans with the real Go SDK: send http|grpc HOST:PORT gzip|none COUNT
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	protocol, endpoint, compression := os.Args[1], os.Args[2], os.Args[3]
	count, err := strconv.Atoi(os.Args[4])
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(open(ctx, protocol, endpoint, compression)),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "go-shop"))),
	)
	tracer := provider.Tracer("exporters")
	for number := range count {
		_, span := tracer.Start(ctx, "INSERT orders")
		span.SetAttributes(
			attribute.String("db.system.name", "postgresql"),
			attribute.String("db.query.text", fmt.Sprintf("INSERT INTO orders (id) VALUES (%d)", number)),
		)
		span.End()
	}
	if err := provider.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}

func open(ctx context.Context, protocol, endpoint, compression string) *otlptrace.Exporter {
	var exporter *otlptrace.Exporter
	var err error
	if protocol == "http" {
		chosen := otlptracehttp.NoCompression
		if compression == "gzip" {
			chosen = otlptracehttp.GzipCompression
		}
		exporter, err = otlptracehttp.New(ctx, otlptracehttp.WithEndpoint(endpoint), otlptracehttp.WithInsecure(), otlptracehttp.WithCompression(chosen))
	} else {
		options := []otlptracegrpc.Option{otlptracegrpc.WithEndpoint(endpoint), otlptracegrpc.WithInsecure()}
		if compression == "gzip" {
			options = append(options, otlptracegrpc.WithCompressor("gzip"))
		}
		exporter, err = otlptracegrpc.New(ctx, options...)
	}
	if err != nil {
		log.Fatal(err)
	}
	return exporter
}
