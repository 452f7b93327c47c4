/**
 * A JSR registry on loopback which offers what `deno publish` would send, so that
 * a test can be a consumer that imports the package from a `jsr:` specifier.
 *
 * @module
 */
import { ROOT } from "./_child.ts";

/** A running registry. */
export interface Registry {
  /** The address for the environment variable `JSR_URL`. */
  url: string;
  /** The paths of the published files, each with a leading slash. */
  files: string[];
  /** Stops it. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a registry that offers this package as it would be published now.
 *
 * @returns The registry.
 */
export async function startRegistry(): Promise<Registry> {
  const settings = JSON.parse(
    await Deno.readTextFile(new URL("deno.json", ROOT)),
  ) as { name: string; version: string; exports: Record<string, string> };
  const { name, version, exports } = settings;
  const [scope, bare] = name.slice(1).split("/");

  const contents = new Map<string, Uint8Array<ArrayBuffer>>();
  const manifest: Record<string, { size: number; checksum: string }> = {};
  for (const path of await publishedFiles()) {
    const bytes = await Deno.readFile(new URL(`.${path}`, ROOT));
    contents.set(path, bytes);
    manifest[path] = { size: bytes.length, checksum: await checksum(bytes) };
  }

  const answers = new Map<string, unknown>([
    [`/${name}/meta.json`, {
      scope,
      name: bare,
      latest: version,
      versions: { [version]: {} },
    }],
    [`/${name}/${version}_meta.json`, { manifest, exports }],
  ]);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    (request) => {
      const { pathname } = new URL(request.url);
      const answer = answers.get(pathname);
      if (answer !== undefined) return Response.json(answer);
      const file = contents.get(pathname.replace(`/${name}/${version}`, ""));
      if (file === undefined) return new Response(null, { status: 404 });
      const type = pathname.endsWith(".ts")
        ? "application/typescript"
        : "text/plain";
      return new Response(file, { headers: { "content-type": type } });
    },
  );
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    files: [...contents.keys()],
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}

/** Asks `deno publish` itself, so that the rules in `deno.json` decide. */
async function publishedFiles(): Promise<string[]> {
  const { success, stdout, stderr } = await new Deno.Command(
    Deno.execPath(),
    {
      args: ["publish", "--dry-run", "--allow-dirty", "--no-check"],
      cwd: ROOT,
      env: { NO_COLOR: "1" },
      stdin: "null",
    },
  ).output();
  const decoder = new TextDecoder();
  const text = decoder.decode(stderr) + decoder.decode(stdout);
  const files = [...text.matchAll(/^\s*(file:\S+) \(/gm)].map(([, url]) =>
    url!.slice(ROOT.href.length - 1)
  );
  if (!success || files.length === 0) {
    throw new Error(`Cannot list the published files: ${text}`);
  }
  return files;
}

async function checksum(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return `sha256-${new Uint8Array(digest).toHex()}`;
}
