/**
 * The root module of a `Process`'s worker that has not all permissions.
 *
 * @module
 */

import "./_kinds.ts";
import "./_sandbox.ts";
import { serve } from "./_process_worker.ts";
import { webPort } from "./_worker.ts";

serve(webPort());
