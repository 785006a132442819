import { Failure } from '../../base/failure.ts';

/** The sentence for a connection that did not come about or broke, by Node's error code; undefined where the code is something else. */
export function unreachable(who: string, code: string, cause: unknown): Failure | undefined {
  const because = reasons[code];
  if (because === undefined) return undefined;
  return new Failure(
    'replica-down',
    `${who} cannot be reached (${because}): check that it runs and that host and port in its url are right.`,
    'later',
    cause,
  );
}

const reasons: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOTFOUND: 'host not found',
  EAI_AGAIN: 'host not found',
  ETIMEDOUT: 'no answer in time',
  ECONNRESET: 'connection reset',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'no route to the network',
  ENOENT: 'no such socket',
  EPIPE: 'connection lost',
  PROTOCOL_CONNECTION_LOST: 'connection lost',
  'connection lost': 'connection lost',
  'no answer in time': 'no answer in time',
};
