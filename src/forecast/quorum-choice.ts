/** What a choice goes by: a setting, the share of fresh reads at the time that is promised, and what is waited for. */
export interface SettingOdds {
  readonly r: number;
  readonly w: number;
  readonly fresh: readonly number[];
  readonly readMeanMs: number;
  readonly readP99Ms: number;
  readonly writeMeanMs: number;
  readonly writeP99Ms: number;
}

/** What a domain asks of its quorum; null: not asked. */
export interface QuorumSlo {
  /** Least share of reads that are fresh `afterMs` after the commit. */
  readonly freshShare: number | null;
  readonly readP99Ms: number | null;
  readonly writeP99Ms: number | null;
  /** Replicas that may be lost while reads and writes go on. */
  readonly faults: number;
}

export interface QuorumChoiceOptions<Odds extends SettingOdds> {
  readonly slo: QuorumSlo;
  /** Share of operations that read. */
  readonly readShare: number;
  readonly current: { readonly r: number; readonly w: number } | null;
  /** A change must lower the mean latency by at least this share, unless the current setting breaks the SLO. */
  readonly switchShare: number;
  /**
   * What P(fresh) surely is, where the record cannot tell it to the point: then a setting keeps the promise only by its low end, and the
   * current one breaks it only by its high end.
   */
  readonly sure?: ReadonlyMap<Odds, { readonly low: number; readonly high: number }>;
}

export interface QuorumChoice<Odds extends SettingOdds> {
  readonly chosen: Odds | null;
  /** Settings in the order in which to go there: what is raised first, then what is lowered, so that no read is staler on the way. */
  readonly steps: readonly { readonly r: number; readonly w: number }[];
  readonly because: string;
  /** For each setting that is out, the promises that it breaks. */
  readonly broken: ReadonlyMap<Odds, readonly string[]>;
}

/** The setting with the least mean latency among those that keep every promise; the current one unless the gain pays for the change. */
export function chooseQuorum<Odds extends SettingOdds>(odds: readonly Odds[], options: QuorumChoiceOptions<Odds>): QuorumChoice<Odds> {
  const { slo, readShare, current } = options;
  const n = Math.max(...odds.map(({ r }) => r));
  const broken = new Map<Odds, readonly string[]>();
  for (const one of odds) {
    const isCurrent = one.r === current?.r && one.w === current.w;
    const bounds = options.sure?.get(one);
    const fresh = (isCurrent ? bounds?.high : bounds?.low) ?? one.fresh[0] ?? 0;
    const hedge = bounds === undefined ? '' : isCurrent ? 'at most ' : 'maybe ';
    const breaks = [
      ...(slo.freshShare !== null && fresh < slo.freshShare ? [`P(fresh) ${hedge}${percent(fresh)} < ${percent(slo.freshShare)}`] : []),
      ...(slo.readP99Ms !== null && one.readP99Ms > slo.readP99Ms ? [`read p99 ${one.readP99Ms.toFixed(1)} ms > ${slo.readP99Ms} ms`] : []),
      ...(slo.writeP99Ms !== null && one.writeP99Ms > slo.writeP99Ms
        ? [`write p99 ${one.writeP99Ms.toFixed(1)} ms > ${slo.writeP99Ms} ms`]
        : []),
      ...(Math.max(one.r, one.w) > n - slo.faults
        ? [`does not survive ${slo.faults} lost ${slo.faults === 1 ? 'replica' : 'replicas'}`]
        : []),
    ];
    if (breaks.length > 0) broken.set(one, breaks);
  }
  const cost = (one: Odds): number => readShare * one.readMeanMs + (1 - readShare) * one.writeMeanMs;
  const kept = odds.filter((one) => !broken.has(one)).toSorted((a, b) => cost(a) - cost(b) || (b.fresh[0] ?? 0) - (a.fresh[0] ?? 0));
  const best = kept[0];
  if (best === undefined)
    return {
      chosen: null,
      steps: [],
      because: 'No (R, W) keeps every promise: relax the one that most settings break, or add a replica.',
      broken,
    };
  const now = current === null ? undefined : odds.find(({ r, w }) => r === current.r && w === current.w);
  if (now === undefined)
    return {
      chosen: best,
      steps: [],
      because: `R=${best.r}, W=${best.w} has the least mean latency (${cost(best).toFixed(2)} ms) of the ${kept.length} that keep every promise.`,
      broken,
    };
  const breaks = broken.get(now);
  if (now === best || (breaks === undefined && cost(best) > cost(now) * (1 - options.switchShare))) {
    return {
      chosen: now,
      steps: [],
      because: `R=${now.r}, W=${now.w} stays: no other setting that keeps every promise is ${percent(options.switchShare)} faster.`,
      broken,
    };
  }
  const raised = { r: Math.max(now.r, best.r), w: Math.max(now.w, best.w) };
  const steps = [raised, { r: best.r, w: best.w }].filter((step, i, all) => {
    const before = i === 0 ? now : all[i - 1];
    return step.r !== before?.r || step.w !== before.w;
  });
  const why =
    breaks === undefined
      ? `its mean latency is ${percent(1 - cost(best) / cost(now))} lower`
      : `the current R=${now.r}, W=${now.w} breaks: ${breaks.join('; ')}`;
  return { chosen: best, steps, because: `R=${best.r}, W=${best.w}: ${why}.`, broken };
}

const percent = (share: number): string => `${Number((100 * share).toFixed(2))} %`;
