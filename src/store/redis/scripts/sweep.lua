#!lua flags=allow-oom
-- Clears up after expired sessions of a bucket. KEYS: counts, channels. ARGV: tag, limit.
local ended, more, behind = clear_expired(tonumber(ARGV[2]))
return answer('ok', ended, more, behind)
