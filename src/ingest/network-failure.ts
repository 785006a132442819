/**
 * What became of a request whose answer did not come, where only the message of the exception tells: Go's `*url.Error`, .NET's
 * `HttpRequestException` and Node's `TypeError: fetch failed` are the same for a timeout and for a connection that was refused, and the
 * difference decides whether the other side may have done its work.
 */
const said = /time[-_ ]?d?[-_ ]?out|refused|reset|hang|pipe|deadline|eof|unavailable|notfound|unknownhost|resolution/i;

const failures: readonly (readonly [RegExp, string])[] = [
  [/connection refused|actively refused|ECONNREFUSED/i, 'connection refused'],
  [/no such host|name or service not known|ENOTFOUND|EAI_AGAIN|getaddrinfo/i, 'name resolution'],
  [/deadline exceeded|timed? ?-?out|ETIMEDOUT/i, 'timeout'],
  [
    /connection reset|reset by peer|ECONNRESET|socket hang up|broken pipe|EPIPE|unexpected EOF|other side closed|prematurely/i,
    'connection reset',
  ],
];

/** `type`, made plainer by the message where the type alone does not say how the request ended. */
export function withNetworkFailure(type: string, message: string): string {
  if (message === '' || said.test(type)) return type;
  const text = message.slice(0, 1024);
  for (const [pattern, name] of failures) if (pattern.test(text)) return type === '' ? name : `${type}: ${name}`;
  return type;
}
