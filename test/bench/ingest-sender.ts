import { Agent, request as httpRequest } from 'node:http';
import { connect } from 'node:http2';

/** Sends one export request and waits for its acknowledgement; throws where it is not one. */
export interface Sender {
  send(bytes: Buffer): Promise<void>;
  close(): void;
}

export function httpSender(port: number, isGzip: boolean): Sender {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const headers = { 'content-type': 'application/x-protobuf', ...(isGzip ? { 'content-encoding': 'gzip' } : {}) };
  return {
    send: (bytes) =>
      new Promise((resolve, reject) => {
        const request = httpRequest(
          { host: '127.0.0.1', port, path: '/v1/traces', method: 'POST', agent, headers: { ...headers, 'content-length': bytes.length } },
          (response) => {
            response.resume();
            response.on('end', () => (response.statusCode === 200 ? resolve() : reject(new Error(`answered ${response.statusCode}`))));
          },
        );
        request.on('error', reject);
        request.end(bytes);
      }),
    close: () => agent.destroy(),
  };
}

/** gRPC by hand over one HTTP/2 connection: a client library would cost the generator more than the server has. */
export function grpcSender(port: number): Sender {
  const session = connect(`http://127.0.0.1:${port}`);
  const headers = {
    ':method': 'POST',
    ':path': '/opentelemetry.proto.collector.trace.v1.TraceService/Export',
    'content-type': 'application/grpc+proto',
    te: 'trailers',
  };
  return {
    send: (bytes) =>
      new Promise((resolve, reject) => {
        const stream = session.request(headers);
        const prefix = Buffer.alloc(5);
        prefix.writeUInt32BE(bytes.length, 1);
        stream.on(
          'response',
          (answer) =>
            answer['grpc-status'] !== undefined &&
            answer['grpc-status'] !== '0' &&
            reject(new Error(`grpc-status ${String(answer['grpc-status'])}`)),
        );
        stream.on('trailers', (trailers) =>
          trailers['grpc-status'] === '0' ? resolve() : reject(new Error(`grpc-status ${String(trailers['grpc-status'])}`)),
        );
        stream.on('error', reject);
        stream.resume();
        stream.write(prefix);
        stream.end(bytes);
      }),
    close: () => session.destroy(),
  };
}
