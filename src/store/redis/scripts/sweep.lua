#!lua flags=allow-oom
-- Clears up after expired sessions of a bucket, and looks whether its keys have a time to live: those of the indexes,
-- and a few sessions of each class, others at each sweep. What has none is named, and gets one. KEYS: counts, channels.
-- ARGV: tag, limit.
local ended, more, behind = clear_expired(tonumber(ARGV[2]))
local SESSIONS = 4 -- so many sessions of a class a sweep
local EVERY = 5000 -- about the time between two sweeps: which ones follows from the clock
local looked, bare = 0, {}

local function audit(key, at)
  local ends = redis.call('PEXPIRETIME', key)
  if ends == -2 then return end
  looked = looked + 1
  if ends == -1 then
    redis.call('PEXPIREAT', key, at)
    bare[#bare + 1] = key
  end
end

local day = math.floor(now / DAY)
for _, index in ipairs({'h', 'u', 'n'}) do audit(base .. index, now + KEEP) end
audit(base .. 'e', now + EVENTS_FOR)
for _, one in ipairs({day, day - 1}) do audit(base .. 'q:' .. one, (one + 2) * DAY) end
for _, class in ipairs(classes()) do
  local x = base .. 'x:' .. class
  audit(x, now + KEEP)
  local first = math.floor(now / EVERY) * SESSIONS % math.max(1, redis.call('ZCARD', x))
  for _, id in ipairs(redis.call('ZRANGE', x, first, first + SESSIONS - 1)) do
    local text = redis.call('HGET', base .. 's:' .. id, 'm')
    if text then
      local m = parse(text)
      audit(base .. 's:' .. id, m.expires + GRACE)
      audit(base .. 'a:' .. id, now + DAY)
      for _, former in ipairs(core(base .. 's:' .. id).kin or {}) do audit(base .. 'r:' .. former, m.abs + GRACE) end
    end
  end
end
return answer('ok', ended, more, behind, looked, bare)
