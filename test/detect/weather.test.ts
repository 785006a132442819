import { expect, it } from 'vitest';
import { dualWrite } from '../../src/detect/detectors/dual-write.ts';
import { outboxLag } from '../../src/detect/detectors/outbox-lag.ts';
import { sagaUncompensated } from '../../src/detect/detectors/saga-uncompensated.ts';
import type { Detector } from '../../src/detect/detector.ts';
import { exampleOperations, type Step } from '../../src/detect/example.ts';
import { createDetection } from '../../src/detect/run.ts';

/** Fed a second at a time, as a service is. */
function detect(only: readonly Detector[], steps: readonly Step[]) {
  const detection = createDetection({ only });
  const operations = exampleOperations(steps).toSorted((a, b) => a.endUs - b.endUs);
  const found = new Map<string, { title: string; count: number; service: string | undefined }>();
  for (let at = 0; at < operations.length; at += 40) {
    detection.add(operations.slice(at, at + 40));
    for (const { fingerprint, title, count, service } of detection.advanceToLateness()) found.set(fingerprint, { title, count, service });
  }
  for (const { fingerprint, title, count, service } of detection.finish()) found.set(fingerprint, { title, count, service });
  return [...found.values()];
}

/** A desk that asks three services in turn; the last refuses now and then. `skewMs`: how far the first one's clock is behind. */
function weddings(skewMs: number): Step[] {
  return Array.from({ length: 24 }, (_, nth) => nth).flatMap((nth): Step[] => {
    const trace = `w${nth}`;
    const at = nth * 1_000 + 500;
    const isFailing = nth % 6 === 5;
    const error = isFailing ? { failed: true, httpStatus: 500 } : {};
    return [
      { kind: 'request', trace, span: `r${nth}`, at, lasts: 30, service: 'weddings', target: 'POST /weddings', ...error },
      ...['venues', 'music', 'flowers'].flatMap((name, step): Step[] => {
        const begins = at + 1 + step * 6;
        const fails = isFailing && name === 'flowers' ? error : {};
        const behind = name === 'venues' ? skewMs : 0;
        const call = `c${nth}${name}`;
        const serve = `s${nth}${name}`;
        return [
          {
            kind: 'call',
            trace,
            span: call,
            parent: `r${nth}`,
            at: begins,
            lasts: 4,
            service: 'weddings',
            target: `POST /${name}`,
            ...fails,
          },
          {
            kind: 'request',
            trace,
            span: serve,
            parent: call,
            at: begins - behind,
            lasts: 3,
            service: name,
            target: `POST /${name}`,
            ...fails,
          },
          ...(fails === error
            ? []
            : [{ kind: 'append', trace, parent: serve, at: begins + 1 - behind, lasts: 1, service: name, target: name } as const]),
        ];
      }),
    ];
  });
}

it('a workflow that stops half way is found whatever the clocks of what it calls say', () => {
  const calm = detect([sagaUncompensated], weddings(0));
  expect(calm).toHaveLength(1);
  expect(detect([sagaUncompensated], weddings(60))).toEqual(calm);
});

/** Orders with an outbox row, of which every tenth is lost, and payments without one; spans whose parents are lost besides. */
function orders(isLossy: boolean): Step[] {
  return Array.from({ length: 120 }, (_, nth) => nth).flatMap((nth): Step[] => {
    const trace = `o${nth}`;
    const at = nth * 1_000;
    const isLost = isLossy && nth % 10 === 3;
    return [
      { kind: 'request', trace, span: `o${nth}`, at, lasts: 40, service: 'orders', target: 'POST /orders' },
      { kind: 'append', trace, parent: `o${nth}`, at: at + 5, service: 'orders', target: 'orders' },
      ...(isLost ? [] : [{ kind: 'append', trace, parent: `o${nth}`, at: at + 8, service: 'orders', target: 'outbox' } as const]),
      { kind: 'publish', trace, parent: `o${nth}`, at: at + 20, service: 'orders', target: 'placed' },
      { kind: 'request', trace: `p${nth}`, span: `p${nth}`, at, lasts: 40, service: 'payments', target: 'POST /payments' },
      { kind: 'append', trace: `p${nth}`, parent: `p${nth}`, at: at + 5, service: 'payments', target: 'payments' },
      { kind: 'publish', trace: `p${nth}`, parent: `p${nth}`, at: at + 20, service: 'payments', target: 'paid' },
      {
        kind: 'read',
        trace: `x${nth}`,
        ...(isLossy && nth % 2 === 0 ? { parent: `lost${nth}` } : {}),
        at,
        service: 'shop',
        target: 'stock',
      },
    ];
  });
}

it('a place that keeps an outbox is not accused where spans are lost; one that keeps none is', () => {
  const found = detect([dualWrite], orders(true));
  expect(found.map(({ service }) => service)).toEqual(['payments']);
  expect(found[0]?.count).toBe(120);
});

it('where nothing is lost, each time without an outbox counts', () => {
  const sometimes = orders(false).filter((step) => !(step.target === 'outbox' && Number(step.trace?.slice(1)) % 10 === 3));
  expect(detect([dualWrite], sometimes).map(({ service, count }) => `${service} ${count}`)).toEqual(
    expect.arrayContaining(['orders 12', 'payments 120']),
  );
});

it('an outbox row whose publish shows, but too late, is told where spans are lost; one that is only cleared away late is not', () => {
  const rows = Array.from({ length: 260 }, (_, nth) => nth).flatMap((nth): Step[] => {
    const at = nth * 1_000;
    const id = `row ${nth}`;
    const publishedAt = at + (nth === 140 ? 60_000 : 800);
    return [
      { kind: 'append', trace: `r${nth}`, at, service: 'loans', target: 'outbox', facts: { outboxId: id } },
      // Of row 150 the publish's span is lost.
      ...(nth === 150
        ? []
        : [{ kind: 'publish', trace: `p${nth}`, at: publishedAt, service: 'relay', target: 'loans', facts: { outboxId: id } } as const]),
      { kind: 'delete', trace: `d${nth}`, at: publishedAt + 50_000, service: 'loans', target: 'outbox', facts: { outboxId: id } },
      { kind: 'read', trace: `x${nth}`, ...(nth % 3 === 0 ? { parent: `lost${nth}` } : {}), at, service: 'shop', target: 'stock' },
    ];
  });
  expect(detect([outboxLag], rows).map(({ title }) => title)).toEqual(['An outbox row of loans was published only after 60 s']);
});
