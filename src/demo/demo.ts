import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createRng } from '../base/rng.ts';
import { type Approver, configText } from './config-text.ts';
import { converge } from './converge.ts';
import { type OpenCluster, openEstate } from './estate.ts';
import { openFaultLog } from './fault-log.ts';
import { findPortBase, startHomeostat } from './homeostat-child.ts';
import { openHomeostatApi } from './homeostat-api.ts';
import { createInjector, type Injector } from './injector.ts';
import { numbersFrom, startTraffic } from './traffic.ts';

export interface DemoOptions {
  readonly dataDir: string;
  /** Undefined: the service's own default ports; 0: any free ones. */
  readonly portBase: number | undefined;
  readonly seed: number;
  readonly untilConverged: boolean;
  readonly json: boolean;
  /** How long `untilConverged` waits before it says what is missing. */
  readonly timeoutS: number;
  /** Ordinary requests a second. */
  readonly perSecond: number;
}

/** What the demo is given rather than imports: it judges the service from outside. */
export interface DemoWorld {
  /** Program and arguments that run `homeostat`, without a command. */
  readonly homeostat: readonly string[];
  readonly openCluster: OpenCluster;
  /** Ids of the trace detectors that the service runs. */
  readonly detectors: readonly string[];
  out(line: string): void;
  err(line: string): void;
  readonly signal: AbortSignal;
}

/** Time for the first scans: a fault in the first second would hide in the noise of the start. */
const warmUpMs = 2_000;
const betweenFaultsMs = { untilConverged: 700, burst: 900, later: 20_000 };

/** Runs the estate, the service and the injector. Returns the exit code. */
export async function runDemo(options: DemoOptions, world: DemoWorld): Promise<number> {
  const dataDir = resolve(options.dataDir);
  mkdirSync(dataDir, { recursive: true });
  const say = (line: string): void => (options.json ? world.err(line) : world.out(line));
  const startedMs = Date.now();
  const run = new Date(startedMs).toISOString();
  const rng = createRng(options.seed);
  const open: { close(): Promise<void> }[] = [];
  try {
    say(`Starting three PostgreSQL databases as regions eu, us and ap under ${join(dataDir, 'estate')} ...`);
    const estate = await openEstate(dataDir, world.openCluster);
    open.push(estate);

    const approvers: readonly Approver[] = ['alice', 'bob'].map((name) => ({ name, token: randomBytes(24).toString('hex') }));
    const configFile = join(dataDir, 'homeostat.yaml');
    // It holds passwords: readable by us only, also where an earlier file had other rights.
    rmSync(configFile, { force: true });
    writeFileSync(configFile, configText(estate.urls, approvers), { mode: 0o600 });
    chmodSync(configFile, 0o600);

    const base = options.portBase === 0 ? await findPortBase(Math.random) : options.portBase;
    say('Starting the service ...');
    const homeostat = await startHomeostat({
      command: [
        ...world.homeostat,
        'start',
        '--config',
        configFile,
        '--data',
        dataDir,
        ...(base === undefined ? [] : ['--port-base', String(base)]),
      ],
      logFile: join(dataDir, 'service.log'),
      onRestart: say,
    });
    open.push(homeostat);
    const { addresses } = homeostat;

    const shop = await estate.startShop(addresses.otlpHttp);
    open.push(shop);
    const numbers = numbersFrom(estate.highest);
    const traffic = startTraffic(shop, numbers, rng.fork('traffic'), options.perSecond);
    open.push(traffic);
    const log = openFaultLog(join(dataDir, 'estate', 'faults.jsonl'));
    const injector = createInjector({
      shop,
      numbers,
      rng: rng.fork('faults'),
      log,
      run,
      detectors: world.detectors,
      nowIso: () => new Date().toISOString(),
    });

    say('');
    say(`  Approval page   ${addresses.login ?? addresses.ui}`);
    say(`  Traces          ${addresses.otlpHttp} (a shop of four processes sends OpenTelemetry spans there)`);
    say(`  Injected faults ${join(dataDir, 'estate', 'faults.jsonl')} (the service never reads this)`);
    say(`  Approvers       ${approvers.map(({ name }) => name).join(' and ')}; their tokens are in ${configFile}`);
    say('');
    await delay(warmUpMs, undefined, { signal: world.signal });

    if (!options.untilConverged) {
      await injectUntilStopped(injector, world.signal, say);
      return 0;
    }
    const { summary, isConverged } = await converge({
      api: openHomeostatApi(() => homeostat.addresses.api, approvers[0]?.token ?? ''),
      approvers,
      estate,
      shop,
      traffic,
      injector,
      log,
      run,
      runStartedMs: startedMs,
      betweenFaultsMs: betweenFaultsMs.untilConverged,
      timeoutMs: options.timeoutS * 1000,
      signal: world.signal,
      say,
    });
    const restarts = homeostat.restarts;
    world.out(
      JSON.stringify(
        options.json ? { ...summary, restarts, seed: options.seed } : { ...summary, restarts, seed: options.seed },
        null,
        options.json ? 0 : 2,
      ),
    );
    return isConverged ? 0 : 1;
  } catch (error) {
    // Ctrl-C during a wait: not a failure.
    if (world.signal.aborted) return 0;
    throw error;
  } finally {
    for (const each of open.toReversed()) await each.close().catch((error: unknown) => world.err(String(error)));
  }
}

/** A burst at first, so that there is something to see within the minute; then now and then, for as long as somebody watches. */
async function injectUntilStopped(injector: Injector, signal: AbortSignal, say: (line: string) => void): Promise<void> {
  let pause = betweenFaultsMs.burst;
  while (!signal.aborted) {
    for (const name of injector.plan(1)) {
      if (signal.aborted) return;
      // A shop in the middle of a restart refuses: the next fault comes anyway.
      const says = await injector.inject(name).then(
        (fault) => `fault: ${fault.what}`,
        (error: unknown) => `fault not injected: ${error instanceof Error ? error.message : String(error)}`,
      );
      say(says);
      await delay(pause, undefined, { signal }).catch(() => undefined);
    }
    pause = betweenFaultsMs.later;
  }
}
