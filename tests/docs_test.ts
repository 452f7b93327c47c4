/**
 * That the documents are complete and point at what there is. (Their examples run as
 * doc tests.)
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import * as mp from "@parallel/multiprocessing";
import { isLibrary } from "../_thrown.ts";
import { ROOT } from "./_child.ts";

/**
 * The public names of Python's `multiprocessing`, by the sections of its
 * documentation: what is documented there, and what is in `__all__` of the package
 * and of its documented modules.
 */
const PYTHON_NAMES: Record<string, string> = {
  "Process and exceptions": `
    Process run start join name is_alive daemon pid ident exitcode authkey sentinel
    interrupt terminate kill close group target args kwargs
    ProcessError BufferTooShort AuthenticationError TimeoutError`,
  "Pipes and queues": `
    Pipe Queue qsize empty full put put_nowait get get_nowait close join_thread
    cancel_join_thread SimpleQueue JoinableQueue task_done join Empty Full`,
  "Miscellaneous": `
    active_children cpu_count current_process parent_process freeze_support
    get_all_start_methods get_context get_start_method set_executable
    set_forkserver_preload set_start_method allow_connection_pickling reducer`,
  "Connection objects": `
    Connection send recv fileno close poll send_bytes recv_bytes recv_bytes_into
    closed readable writable`,
  "Synchronization primitives": `
    Barrier parties n_waiting broken reset abort wait BrokenBarrierError
    BoundedSemaphore Semaphore acquire release get_value Condition wait_for notify
    notify_all Event is_set set clear Lock RLock locked`,
  "Shared `ctypes` objects": `
    Value Array get_lock get_obj acquire release value sharedctypes RawValue RawArray
    copy synchronized`,
  "Managers": `
    Manager BaseManager start get_server connect shutdown register address join
    SyncManager Barrier BoundedSemaphore Condition Event Lock Namespace Queue
    JoinableQueue RLock Semaphore Array Value Pool dict list set
    BaseProxy _callmethod _getvalue __repr__ __str__ Token SharedMemoryManager
    serve_forever MakeProxyType AutoProxy`,
  "Process pools": `
    Pool processes initializer initargs maxtasksperchild context apply apply_async
    map map_async imap imap_unordered starmap starmap_async close terminate join next
    AsyncResult get wait ready successful ThreadPool`,
  "Listeners and clients": `
    deliver_challenge answer_challenge Client Listener accept close address
    last_accepted Pipe wait`,
  "Authentication keys, logging, `dummy`": `
    authkey get_logger log_to_stderr dummy`,
  "Shared memory": `
    SharedMemory buf name size close unlink ShareableList count index format shm
    SharedMemoryManager`,
};

/** The headings of Python's programming guidelines. */
const GUIDELINES = [
  "Avoid shared state",
  "Picklability",
  "Thread safety of proxies",
  "Joining zombie processes",
  "Better to inherit than pickle/unpickle",
  "Avoid terminating processes",
  "Joining processes that use queues",
  "Explicitly pass resources to child processes",
  "Beware of replacing `sys.stdin` with a file-like object",
  "Global variables",
  "Safe importing of main module",
];

function read(path: string): Promise<string> {
  return Deno.readTextFile(new URL(path, ROOT));
}

/** The text under a heading, down to the next one of its level. */
function section(text: string, heading: string): string {
  const level = heading.slice(0, heading.indexOf(" ") + 1);
  const from = text.indexOf(`\n${heading}\n`);
  assert(from >= 0, `There is no heading "${heading}"`);
  const to = text.indexOf(`\n${level}`, from + 1);
  return text.slice(from, to < 0 ? undefined : to);
}

/** The cells of the first column of all tables. */
function firstColumn(text: string): string[] {
  return [...text.matchAll(/^\| (.*?) \|/gm)].map(([, cell]) => cell!.trim());
}

/** The words in a text's `code`. */
function codeWords(text: string): Set<string> {
  const code = [...text.matchAll(/`([^`]+)`/g)].map(([, span]) => span!);
  return new Set(code.join(" ").match(/\w+/g) ?? []);
}

/** The anchor that a heading gets. */
function anchor(heading: string): string {
  return heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");
}

Deno.test("docs/python.md says of every public name of Python's multiprocessing what it is here", async () => {
  const porting = await read("docs/python.md");
  for (const [heading, names] of Object.entries(PYTHON_NAMES)) {
    const known = codeWords(
      firstColumn(section(porting, `## ${heading}`)).join("\n"),
    );
    const missing = names.trim().split(/\s+/).filter((name) =>
      !known.has(name)
    );
    assertEquals(missing, [], `missing under "${heading}"`);
  }
  const guidelines = firstColumn(
    section(porting, "## Programming guidelines"),
  );
  for (const title of GUIDELINES) {
    assert(guidelines.some((cell) => cell.startsWith(title)), title);
  }
});

Deno.test("docs/python.md leaves no cell of its tables empty", async () => {
  const porting = await read("docs/python.md");
  for (const [row] of porting.matchAll(/^\|.*$/gm)) {
    const cells = row.split(" | ");
    assertEquals(cells.length, 2, row);
    assert(cells.every((cell) => /[^\s|]/.test(cell)), row);
  }
});

Deno.test("private modules are ASCII", async () => {
  for await (const { name } of Deno.readDir(ROOT)) {
    if (!/^_\w+\.ts$/.test(name)) continue;
    const other = (await read(name)).match(/[^\0-\x7f]/u);
    assertEquals(other, null, `${name}: ${other?.[0]}`);
  }
});

Deno.test("every module of the library is known as one, by whatever lists them", async () => {
  const handles = await read("_handle.ts");
  const table = handles.slice(handles.indexOf("const MODULES"));
  const kinds = table.slice(0, table.indexOf("};")).match(/\.\/\w+\.ts/g)!;
  const loaded = await read("_kinds.ts") + await read("manager.ts");
  for (const module of kinds) assertStringIncludes(loaded, `"${module}"`);

  for await (const { name } of Deno.readDir(ROOT)) {
    if (name.endsWith(".ts")) assert(isLibrary(new URL(name, ROOT).href), name);
  }
  for (const path of ["main.ts", "queue.test.ts", "bench/figures.ts"]) {
    assert(!isLibrary(new URL(path, ROOT).href), path);
  }
});

Deno.test("CONTRIBUTING.md has a line for every module", async () => {
  const listed = firstColumn(
    section(await read("CONTRIBUTING.md"), "## The modules"),
  ).filter((cell) => cell.endsWith(".ts`")).map((cell) => cell.slice(1, -1));
  const files: string[] = [];
  for await (const { name } of Deno.readDir(ROOT)) {
    if (name.endsWith(".ts") && name !== "mod.ts") files.push(name);
  }
  assertEquals(listed.toSorted(), files.sort());
});

Deno.test("links between the documents lead somewhere", async () => {
  const documents = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
    "docs/design.md",
    "docs/performance.md",
    "docs/python.md",
    "docs/sending.md",
    "docs/workers.md",
  ];
  for (const path of documents) {
    const text = await read(path);
    for (const [link, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const url = new URL(target!, new URL(path, ROOT));
      const there = await read(url.pathname).catch(() => undefined);
      assert(there !== undefined, `${path}: ${link}: there is no such file`);
      if (url.hash === "") continue;
      const anchors = [...there.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
        `#${anchor(heading!)}`
      );
      assert(anchors.includes(url.hash), `${path}: ${link}: no such heading`);
    }
  }
});

Deno.test("mod.ts exports everything that the entry points export", async () => {
  const { exports } = JSON.parse(await read("deno.json")) as {
    exports: Record<string, string>;
  };
  const all = mp as unknown as Record<string, unknown>;
  for (const path of Object.values(exports)) {
    const module = await import(new URL(path, ROOT).href) as object;
    for (const [name, value] of Object.entries(module)) {
      assert(all[name] === value, `${path}: ${name}`);
    }
  }
});

Deno.test("classes that an entry point passes on can be used as values", async () => {
  const { exports } = JSON.parse(await read("deno.json")) as {
    exports: Record<string, string>;
  };
  for (const path of Object.values(exports)) {
    const module = await import(new URL(path, ROOT).href) as object;
    const text = await read(path);
    for (const [, list] of text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)) {
      for (const name of list!.match(/\w+/g) ?? []) {
        if (name in mp) assert(name in module, `${path}: ${name}`);
      }
    }
  }
});
