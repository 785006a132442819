import type { Config } from '../config.ts';
import type { DetectStageOptions } from './detect-stage.ts';
import { featureOptions } from './forecast-loop.ts';

/** What the detectors' thread is told of the configuration. */
export function detectStageOptions(config: Config): DetectStageOptions {
  const collections = Object.values(config.collections);
  const { latenessMs } = config.ingest;
  return {
    detection: {
      latenessMs,
      traceIdleMs: config.detect.traceIdleMs,
      share: config.detect.share,
      maxOperations: config.detect.maxOperations,
      detectors: config.detect.detectors,
    },
    domains: Object.values(config.domains),
    collections,
    ...(config.forecast.enabled ? { features: featureOptions(collections, config.forecast.stepMs) } : {}),
    latenessMs,
    graceMs: latenessMs,
  };
}
