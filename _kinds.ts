/**
 * The modules of all kinds of handles, for a worker that may not import any once
 * it runs.
 *
 * @module
 */

import "./barrier.ts";
import "./condition.ts";
import "./event.ts";
import "./lock.ts";
import "./manager.ts";
import "./pipe.ts";
import "./queue.ts";
import "./semaphore.ts";
import "./shared.ts";
