/**
 * The root module of a pool's worker that has not all permissions.
 *
 * @module
 */

import "./_kinds.ts";
import "./_sandbox.ts";
import { serve } from "./_pool_worker.ts";
import { webPort } from "./_worker.ts";

serve(webPort());
