/** What the receiver says of itself in its metrics: they need no token, and are right whatever ports were asked for. */
export const prefix = 'homeostat_ingest_';

export type Figures = ReadonlyMap<string, number>;

export function parseMetrics(text: string): Figures {
  return new Map(
    text.split('\n').flatMap((line): [string, number][] => {
      const match = line.startsWith(prefix) ? /^(\S+?(?:\{.*\})?)\s+(\S+)$/.exec(line) : null;
      return match === null ? [] : [[match[1] ?? '', Number(match[2])]];
    }),
  );
}

export interface Listening {
  readonly port?: number;
  readonly isTls: boolean;
  readonly asksToken: boolean;
}

/** Where HTTP exporters are taken, and what they have to bring. */
export function listening(figures: Figures): Listening {
  const found = [...figures].find(([name]) => name.startsWith(`${prefix}port{protocol="http"`));
  const isTls = found?.[0].includes('tls="true"') ?? false;
  const asksToken = found?.[0].includes('token="true"') ?? false;
  return found === undefined ? { isTls, asksToken } : { port: found[1], isTls, asksToken };
}
