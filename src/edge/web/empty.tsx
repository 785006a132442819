/** Empty states teach: what to copy so that the page fills. */
import type { ComponentChildren, JSX } from 'preact';
import { useState } from 'preact/hooks';

export function Copy({ text }: { readonly text: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  return (
    <div class="copy">
      <pre>{text}</pre>
      <button
        type="button"
        onClick={() => {
          void navigator.clipboard.writeText(text).then(() => setCopied(true));
        }}
      >
        {isCopied ? 'Copied' : 'Copy'}
      </button>
    </div>
  );
}

export function Empty({ title, children }: { readonly title: string; readonly children: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function NothingWaits({ state }: { readonly state: string }): JSX.Element {
  if (state !== 'waiting') {
    return (
      <Empty title="Nothing here yet">
        <p>Proposals come here once they are {state === 'planned' ? 'approved' : state}.</p>
      </Empty>
    );
  }
  return (
    <Empty title="Nothing waits for you">
      <p>Replicas agree, or what differs repairs itself. A proposal comes here when a rule wants a person to look first.</p>
      <p>To see it work on real databases, run the demo estate beside this service:</p>
      <Copy text="npm run demo" />
      <p>To watch your own, point exporters here and name two replicas:</p>
      <ExporterVariables />
      <FirstReplica />
    </Empty>
  );
}

export function ExporterVariables(): JSX.Element {
  return (
    <Copy
      text={`export OTEL_EXPORTER_OTLP_ENDPOINT=http://${location.hostname}:4318\nexport OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf\nexport OTEL_TRACES_EXPORTER=otlp`}
    />
  );
}

export function FirstReplica(): JSX.Element {
  return (
    <Copy
      text={`# homeostat.yaml
domains:
  profiles: { consistency: eventual, stalenessMs: 30000, repair: { mode: auto } }
collections:
  profiles:
    domain: profiles
    key: [id]
    authority: eu
    replicas:
      eu: { url: "postgres://user:\${EU_PASSWORD}@eu-host/shop", table: public.profiles, role: leader }
      us: { url: "postgres://user:\${US_PASSWORD}@us-host/shop", table: public.profiles }`}
    />
  );
}
