import { createRng } from '../../../src/base/rng.ts';
import type { SimSpan } from './span.ts';
import type { World } from './world.ts';

/** What happens to spans between the services and us. */
export interface Weather {
  /** Share of traces kept by head sampling. */
  readonly headSampling: number;
  /** Share of spans lost. */
  readonly loss: number;
  /** Each service's clock is off by up to this much, milliseconds. */
  readonly skewMs: number;
  /** Spans arrive up to this late, milliseconds. */
  readonly latenessMs: number;
  /** Share of spans delivered twice. */
  readonly duplicates: number;
}

export const calm: Weather = { headSampling: 1, loss: 0, skewMs: 0, latenessMs: 1_000, duplicates: 0.02 };
export const rough: Weather = { headSampling: 1, loss: 0.05, skewMs: 50, latenessMs: 10_000, duplicates: 0.05 };

/**
 * The fleet's spans as OTLP/JSON lines in order of arrival, as the Collector's file exporter writes them: a line a second of
 * arrival, a resource a service.
 */
export function emit(world: World, weather: Weather, seed: number): readonly string[] {
  const rng = createRng(seed).fork('weather');
  const skewUs = new Map<string, number>();
  const seconds = new Map<number, Map<string, SimSpan[]>>();
  for (const trace of world.traces) {
    if (rng.next() >= weather.headSampling) continue;
    for (const span of trace.spans) {
      if (rng.next() < weather.loss) continue;
      if (!skewUs.has(span.service)) skewUs.set(span.service, Math.round((rng.next() * 2 - 1) * weather.skewMs * 1_000));
      for (let copies = rng.next() < weather.duplicates ? 2 : 1; copies > 0; copies -= 1) {
        const second = Math.floor((span.endUs + rng.next() * weather.latenessMs * 1_000) / 1_000_000);
        let services = seconds.get(second);
        if (services === undefined) {
          services = new Map();
          seconds.set(second, services);
        }
        const spans = services.get(span.service);
        if (spans === undefined) services.set(span.service, [span]);
        else spans.push(span);
      }
    }
  }
  return [...seconds.keys()]
    .toSorted((a, b) => a - b)
    .map((second) => {
      const services = [...(seconds.get(second) ?? new Map<string, SimSpan[]>())];
      return JSON.stringify({
        resourceSpans: services.map(([service, spans]) => ({
          resource: {
            attributes: [
              attribute('service.name', service),
              ...(world.service(service).language === '' ? [] : [attribute('telemetry.sdk.language', world.service(service).language)]),
            ],
          },
          scopeSpans: [{ scope: { name: 'fleet' }, spans: spans.map((span: SimSpan) => otlpSpan(span, skewUs.get(service) ?? 0)) }],
        })),
      });
    });
}

function otlpSpan(span: SimSpan, skewUs: number): object {
  const nanos = (us: number): string => `${us + skewUs}000`;
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    parentSpanId: span.parentSpanId,
    name: span.name,
    kind: span.kind,
    startTimeUnixNano: nanos(span.startUs),
    endTimeUnixNano: nanos(span.endUs),
    attributes: Object.entries(span.attributes).map(([key, value]) => attribute(key, value)),
    events: span.events.map((event) => ({
      name: event.name,
      timeUnixNano: nanos(event.atUs),
      attributes: Object.entries(event.attributes).map(([key, value]) => attribute(key, value)),
    })),
    links: span.links,
    status: span.failed ? { code: 2 } : {},
  };
}

function attribute(key: string, value: string | number | boolean): object {
  if (typeof value === 'string') return { key, value: { stringValue: value } };
  if (typeof value === 'boolean') return { key, value: { boolValue: value } };
  return Number.isInteger(value) ? { key, value: { intValue: String(value) } } : { key, value: { doubleValue: value } };
}
