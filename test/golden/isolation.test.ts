import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { isolation } from '../../src/detect/detectors/isolation.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import type { Version } from '../../src/domain/operation.ts';

/**
 * Textbook histories, one a file: what it is and from where, the history, and after `---` the report. A line of the history is
 *
 *   r1 x 0          T1 reads version 0 of x            w2 x 1<0   T2 writes version 1 of x from version 0
 *   w1 x a<         from nothing; letters are opaque   w1 x a     from what, it does not say
 *   a1              T1 aborts (default: commits)       s1 ada     T1 belongs to session ada
 *   u1              T1's outcome is unknown
 *
 * in the order of time. The first line says what the literature says: classes, `nothing`, or `unknown` where no order of versions is known. `UPDATE_GOLDEN=1` rewrites the reports.
 */
const folder = new URL('./isolation/', import.meta.url);

function parseVersion(text: string): Version {
  return /^\d+$/.test(text) ? BigInt(text) : text;
}

function parseHistory(text: string): readonly Step[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const outcomes = new Map(
    lines.flatMap((line) => (/^[au]\d+$/.test(line) ? [[line.slice(1), line.startsWith('a') ? 'aborted' : 'unknown'] as const] : [])),
  );
  const sessions = new Map(
    lines.flatMap((line) => (/^s\d/.test(line) ? [[line.slice(1, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)] as const] : [])),
  );
  return lines
    .filter((line) => /^[rw]/.test(line))
    .map((line, at) => {
      const [what = '', objectKey = '', versions = ''] = line.split(' ');
      const transaction = what.slice(1);
      const [version = '', base] = versions.split('<');
      return {
        kind: what.startsWith('r') ? 'read' : 'write',
        at: at * 10,
        trace: `T${transaction}`,
        span: `s${at}`,
        service: 'db',
        facts: {
          objectType: '',
          objectKey,
          version: parseVersion(version),
          ...(base === undefined ? {} : { versionBase: parseVersion(base) }),
          transactionId: `T${transaction}`,
          transactionOutcome: outcomes.get(transaction) ?? 'committed',
          sessionId: sessions.get(transaction) ?? '',
        },
      } satisfies Step;
    });
}

/** `step` operations at a time, with the watermark close behind; 0: the whole history at once. */
function reportOf(history: string, step: number): string {
  const detection = createDetection({ only: [isolation], latenessMs: 1 });
  const operations = exampleOperations(parseHistory(history));
  const found = new Map<string, string>();
  const keep = (anomalies: readonly Anomaly[]): void => {
    for (const anomaly of anomalies) found.set(anomaly.fingerprint, `${anomaly.title}\n${anomaly.explanation}\n`);
  };
  if (step === 0) detection.add(operations);
  else
    for (let at = 0; at < operations.length; at += step) {
      detection.add(operations.slice(at, at + step));
      keep(detection.advanceToLateness());
    }
  keep(detection.finish());
  if (found.size > 0) return [...found.values()].toSorted().join('\n');
  const { unordered } = detection.stats;
  if (unordered === 0) return 'nothing\n';
  return `unknown: the order of versions of ${unordered === 1 ? 'one object' : `${unordered} objects`} is not known\n`;
}

describe('textbook histories', () => {
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.txt'))) {
    it(file.replace('.txt', '').replaceAll('-', ' '), () => {
      const path = new URL(file, folder);
      const [history = '', expected = ''] = readFileSync(path, 'utf8').split('---\n');
      const report = reportOf(history, 0);
      for (const step of [1, 2, 3]) expect(reportOf(history, step)).toBe(report);
      if (process.env['UPDATE_GOLDEN'] === '1') writeFileSync(path, `${history}---\n${report}`);
      else expect(report).toBe(expected);
      // What the literature says stands in the history's first line, apart from the report: `# G1c: ...`.
      const classes = [...report.matchAll(/^(G\S+|internal): /gm)].map((match) => match[1] ?? '').toSorted((a, b) => (a < b ? -1 : 1));
      const [, said = ''] = /^# ([^:]+):/.exec(history) ?? [];
      expect(classes.length === 0 ? report.replace(/\W[^]*$/, '') : classes.join(' ')).toBe(said);
    });
  }
});
