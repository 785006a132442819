import { blank, type Described, integer, listText } from './described.ts';
import type { SpanView } from './span-view.ts';
import { codeOf } from './wanted-attributes.ts';

const requestMethodCode = codeOf('http.request.method');
const formerMethodCode = codeOf('http.method');
const routeCode = codeOf('http.route');
const targetCode = codeOf('http.target');
const httpUrlCode = codeOf('http.url');
const urlTemplateCode = codeOf('url.template');
const urlPathCode = codeOf('url.path');
const urlFullCode = codeOf('url.full');
const httpStatusCode = codeOf('http.response.status_code');
const formerHttpStatusCode = codeOf('http.status_code');
const idempotencyCode = codeOf('http.request.header.idempotency-key');
const formerIdempotencyCode = codeOf('http.request.header.idempotency_key');
const xIdempotencyCode = codeOf('http.request.header.x-idempotency-key');
const formerXIdempotencyCode = codeOf('http.request.header.x_idempotency_key');
const rpcSystemCode = codeOf('rpc.system');
const rpcSystemNameCode = codeOf('rpc.system.name');
const rpcServiceCode = codeOf('rpc.service');
const rpcMethodCode = codeOf('rpc.method');
const grpcStatusCode = codeOf('rpc.grpc.status_code');
const rpcResponseStatusCode = codeOf('rpc.response.status_code');

/** A call made or served, or a step inside a service. */
export function describeCall(view: SpanView, spanKind: number, spanName: string): Described {
  const described = blank(spanKind === 2 || spanKind === 5 ? 'request' : spanKind === 3 || spanKind === 4 ? 'call' : 'internal');
  described.httpStatus = integer(view.number(httpStatusCode, view.number(formerHttpStatusCode, 0)));
  const rpcService = view.text(rpcServiceCode);
  const rpcMethod = view.text(rpcMethodCode);
  if (rpcService !== '' || rpcMethod !== '') {
    described.target = rpcService === '' ? rpcMethod : `${rpcService}/${rpcMethod}`;
    described.system = view.either(rpcSystemNameCode, rpcSystemCode);
    const grpc = view.text(grpcStatusCode) || view.text(rpcResponseStatusCode);
    if (grpc !== '' && described.httpStatus === 0) described.httpStatus = httpOfGrpc[grpc.toUpperCase()] ?? 0;
  } else if (described.kind !== 'internal') {
    const method = view.either(requestMethodCode, formerMethodCode);
    const path =
      view.either(urlTemplateCode, routeCode) ||
      pathOf(view.text(urlPathCode) || view.text(urlFullCode) || view.either(targetCode, httpUrlCode));
    described.target = method === '' ? spanName : path === '' ? method : `${method} ${path}`;
  }
  described.varies = 'call';
  described.idempotencyKey = idempotencyKeyOf(view);
  return described;
}

export function idempotencyKeyOf(view: SpanView): string {
  return listText(view.either(idempotencyCode, formerIdempotencyCode) || view.either(xIdempotencyCode, formerXIdempotencyCode));
}

function pathOf(url: string): string {
  if (url === '') return '';
  const bare = url.replace(/[?#].*$/s, '');
  const scheme = bare.indexOf('://');
  if (scheme < 0) return bare;
  const slash = bare.indexOf('/', scheme + 3);
  return slash < 0 ? '/' : bare.slice(slash);
}

/** gRPC status, as number or name, with the HTTP status that google.rpc.Code documents for it. */
const grpcNames =
  'OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED'.split(
    ' ',
  );
const grpcHttp = [200, 499, 500, 400, 504, 404, 409, 403, 429, 400, 409, 400, 501, 500, 503, 500, 401];
const httpOfGrpc: Readonly<Record<string, number>> = Object.fromEntries(
  grpcNames.flatMap((name, code) => [
    [name, grpcHttp[code] as number],
    [String(code), grpcHttp[code] as number],
  ]),
);
