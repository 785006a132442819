import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseConfig } from '../../src/config.ts';
import { createRng } from '../../src/base/rng.ts';
import { compareRegions } from '../../src/demo/compare-regions.ts';
import { configText } from '../../src/demo/config-text.ts';
import { type Estate, openEstate, type Shop } from '../../src/demo/estate.ts';
import { divergingKinds, type FaultKind, type FaultLog, openFaultLog, unprovableKinds } from '../../src/demo/fault-log.ts';
import { createInjector } from '../../src/demo/injector.ts';
import { numbersFrom, startTraffic } from '../../src/demo/traffic.ts';
import { detectors } from '../../src/detect/registry.ts';
import { createDetection } from '../../src/detect/run.ts';
import type { Anomaly } from '../../src/domain/anomaly.ts';
import { readOtlpFile } from '../../src/io/otlp/read-file.ts';
import { openEmbeddedPostgres } from '../../src/io/store/embedded.ts';

// The estate without the service: what it sends and what it breaks is looked at here with nothing in between.
describe('demo estate', () => {
  let folder: string;
  let sink: Server;
  let estate: Estate;
  let shop: Shop;
  let log: FaultLog;
  const spanFiles: string[] = [];
  const anomalies: Anomaly[] = [];

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'homeostat-estate-'));
    chmodSync(folder, 0o755);
    sink = createServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const file = join(folder, `${spanFiles.length}.pb`);
        writeFileSync(file, Buffer.concat(parts));
        spanFiles.push(file);
        response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
      });
    });
    await new Promise<void>((resolve) => sink.listen(0, '127.0.0.1', resolve));
    estate = await openEstate(folder, openEmbeddedPostgres);
    shop = await estate.startShop(`http://127.0.0.1:${(sink.address() as AddressInfo).port}`);
    const rng = createRng(11);
    const numbers = numbersFrom(estate.highest);
    const traffic = startTraffic(shop, numbers, rng.fork('traffic'), 20);
    log = openFaultLog(join(folder, 'faults.jsonl'));
    const injector = createInjector({
      shop,
      numbers,
      rng: rng.fork('faults'),
      log,
      run: 'test',
      detectors: detectors.map((detector) => detector.id),
      nowIso: () => new Date().toISOString(),
    });
    for (const name of injector.plan(1)) await injector.inject(name);
    // Long enough for a message that is never delivered to be overtaken by its peers.
    await delay(5_000);
    await traffic.close();
    expect(traffic.counts).toMatchObject({ failed: 0 });
    await shop.drain(AbortSignal.timeout(20_000));
    await shop.close();
    const parsed = parseConfig(configText(estate.urls, []), 'homeostat.yaml', {});
    if (parsed.is !== 'config') throw new Error(JSON.stringify(parsed.problems));
    const detection = createDetection({
      ...parsed.config.detect,
      latenessMs: 60_000,
      domains: Object.values(parsed.config.domains),
      collections: Object.values(parsed.config.collections),
    });
    for (const file of spanFiles) for await (const operations of readOtlpFile(file)) detection.add(operations);
    anomalies.push(...detection.finish());
  }, 120_000);

  afterAll(async () => {
    await estate?.close();
    sink?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  test('regions differ in exactly the rows that faults left different', async () => {
    const dropped = log.faults
      .filter((fault) => divergingKinds.includes(fault.kind))
      .flatMap((fault) => fault.keys.map((key) => `${fault.collection}/${key}`));
    const { different, rows } = await compareRegions(estate.urls);
    expect(different.toSorted()).toEqual(dropped.toSorted());
    expect(rows.profiles).toBeGreaterThan(1_000);
  });

  test('what traces prove is what was injected, and nothing else', () => {
    const proven = anomalies.filter((anomaly) => anomaly.grade === 'proven');
    const looked = (kind: FaultKind) => (unprovableKinds.includes(kind) ? anomalies : proven);
    const traces = new Set(log.faults.flatMap((fault) => fault.traces));
    const keys = new Set(log.faults.flatMap((fault) => fault.keys));
    const unexplained = proven.filter(
      (anomaly) => !anomaly.spans.some((span) => traces.has(span.traceId)) && !keys.has(anomaly.objectKey ?? ''),
    );
    expect(unexplained.map((anomaly) => `${anomaly.kind}: ${anomaly.title}`)).toEqual([]);
    for (const fault of log.faults.filter(({ kind }) => kind !== 'dropped-change' && kind !== 'late-change'))
      expect(
        looked(fault.kind).some(
          (anomaly) =>
            anomaly.kind === fault.kind &&
            (fault.keys.includes(anomaly.objectKey ?? '') || anomaly.spans.some((span) => fault.traces.includes(span.traceId))),
        ),
        fault.what,
      ).toBe(true);
  });

  test('the log keeps what earlier runs did', () => {
    const again = openFaultLog(join(folder, 'faults.jsonl'));
    expect(again.faults).toEqual(log.faults);
  });
});
