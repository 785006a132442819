import { request as httpRequest, type Agent } from 'node:http';
import { type Client, Metadata, type ServiceError } from '@grpc/grpc-js';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** One HTTP request; resolves with whatever the server answers. `chunked` leaves the length out. */
export function send(
  port: number,
  path: string,
  headers: Record<string, string>,
  body: Buffer,
  options: { readonly method?: string; readonly agent?: Agent; readonly chunked?: boolean } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const length = options.chunked === true ? {} : { 'content-length': body.length };
    const request = httpRequest(
      {
        host: '127.0.0.1',
        port,
        path,
        method: options.method ?? 'POST',
        headers: { ...headers, ...length },
        ...(options.agent === undefined ? {} : { agent: options.agent }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }));
        response.on('error', reject);
      },
    );
    // A server may answer and close before it has read a body that it refuses.
    request.on('error', (error: NodeJS.ErrnoException) =>
      error.code === 'EPIPE' || error.code === 'ECONNRESET' ? undefined : reject(error),
    );
    if (options.chunked === true) for (let at = 0; at < body.length; at += 7) request.write(body.subarray(at, at + 7));
    request.end(options.method === 'GET' || options.chunked === true ? undefined : body);
  });
}

export interface Called {
  readonly error: ServiceError | null;
  readonly response: Buffer | undefined;
}

/** One unary call of grpc-js with a message that is encoded already. */
export function call(client: Client, method: string, body: Buffer, metadata = new Metadata()): Promise<Called> {
  const bytes = (value: Buffer): Buffer => value;
  return new Promise((resolve) => {
    client.makeUnaryRequest(method, bytes, bytes, body, metadata, { deadline: Date.now() + 20_000 }, (error, response) =>
      resolve({ error, response }),
    );
  });
}
