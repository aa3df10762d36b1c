-- What the scripts that write have in common. Every script's first key lies in the bucket, its second and third are the
-- bucket's channels; no key of a channel's name ever exists, so that a half-moved slot answers TRYAGAIN before anything
-- is written. ARGV[1] is given back with the answer, so that the client can tell that it is its own.
local base = string.match(KEYS[1], '^.*{..}:')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local GRACE = 300000 -- a session's key outlives its deadline by so much
local KEEP = 86400000 -- an index outlives its last session by so much, for the sweep
local OPERATION = 30000 -- an operation's answer is remembered for so long
local EVENTS = 64 -- so many events a bucket are kept
local EVENTS_FOR = 600000 -- for so long after the last of them
local DAY = 86400000
local KIN = 8 -- so many former ids are remembered
local ACTIVITIES = 100 -- so many ends of sessions a user are noted, for a day after the last
local FORMAT = 1 -- of the records that are changed here

-- What the call is done for, a word each behind the tag: `traceparent`, `actor`, `request`. Mostly nothing.
local function word(name)
  return string.match(ARGV[1], ' ' .. name .. '=(%S+)')
end

local function answer(status, ...)
  return cmsgpack.pack({ARGV[1], now, status, ...})
end

-- The field `m`: the session's own id, version, created (ms), then by how much later its last activity was, the idle
-- timeout, by how much later than its making it ends at the latest, data bytes, class, hash of the user or -, by how much
-- later the user authenticated or -. Differences, for 50 bytes less are a size class less in Redis's allocator. What a
-- newer program adds after them is kept: `f` and a number, where the record has another format than 1, and more.
local function parse(text)
  local id, v, created, last, idle, abs, bytes, class, user, auth, rest =
    string.match(text, '^(%S+) (%d+) (%d+) (%d+) (%d+) (%d+) (%d+) (%S+) (%S+) (%S+)(.*)$')
  created = tonumber(created)
  local m = {
    id = id, v = tonumber(v), created = created, last = created + last, idle = tonumber(idle), abs = created + abs,
    bytes = tonumber(bytes), class = class, user = user ~= '-' and user or nil,
    auth = auth ~= '-' and created + auth or nil, rest = rest,
  }
  m.expires = math.min(m.last + m.idle, m.abs)
  return m
end

local function write(key, m)
  local auth = m.auth and string.format('%d', math.max(0, m.auth - m.created)) or '-'
  redis.call('HSET', key, 'm', string.format('%s %d %d %d %d %d %d %s %s %s%s', m.id, m.v, m.created,
    m.last - m.created, m.idle, m.abs - m.created, m.bytes, m.class, m.user or '-', auth, m.rest or ''))
end

-- The session of an id, through the aliases that rotations left, however many: an id that stood for nothing could not be
-- logged out. There is no circle, for new ids are fresh.
local function find(id)
  while true do
    local key = base .. 's:' .. id
    local text = redis.call('HGET', key, 'm')
    if text then return id, key, parse(text) end
    local alias = redis.call('GET', base .. 'r:' .. id)
    if not alias then return nil end
    local target, ends = string.match(alias, '^(%S+) (%d+)')
    if ends ~= '0' and now >= tonumber(ends) then return nil end
    id = target
  end
end

-- Whether an id stands for a session already, or did before a rotation: nothing new may be made under it (S10, S13).
local function is_taken(id)
  return redis.call('EXISTS', base .. 's:' .. id, base .. 'r:' .. id) > 0
end

-- Whether a newer program wrote it in a format that is not known here: then it can be used and ended, but not changed.
local function is_newer(m)
  return (tonumber(string.match(m.rest, '^ f(%d+)')) or FORMAT) > FORMAT
end

-- The same, where it is alive: for whatever changes it.
local function live(id)
  local found, key, m = find(id)
  if not found or now >= m.expires then return nil end
  if is_newer(m) then error('session ' .. found .. ': its record is of a newer format') end
  return found, key, m
end

-- A record is plain, or all that users put into it is sealed: then it has the field `s`, and every value is longer by
-- `seal` bytes than what it holds. Whoever writes says how it seals (0: not at all), and where the record is kept
-- otherwise, or has another id than the one sealed for, it must be read first.
local function fits(key, id, seal)
  local sealed = redis.call('HEXISTS', key, 's') == 1
  return sealed == (seal > 0) and (not sealed or id == ARGV[2])
end

local function core(key)
  return cjson.decode(redis.call('HGET', key, 'c'))
end

-- No key without a time to live: at least until then.
local function keep(key, at)
  if redis.call('PEXPIRETIME', key) < at then redis.call('PEXPIREAT', key, at) end
end

local function invalidate(kind, version, ids)
  local trace = word('traceparent')
  redis.call('SPUBLISH', KEYS[2], '1 ' .. kind .. ' ' .. string.format('%d', version) .. ' ' .. ids ..
    (trace and ' traceparent=' .. trace or ''))
end

-- A session's id with those that it had before: a failover may undo a rotation together with the end.
local function named(id, c)
  return table.concat({id, unpack(c.kin or {})}, ' ')
end

local function tell(kind, id, m, c, more)
  local event = more or {}
  event.event, event.session_id, event.at, event.class = kind, id, now, m.class
  event.user_id, event.sealed_user, event.server_id = c.user, c.sealed_user, c.server_id
  event.actor, event.request_id = word('actor'), word('request')
  local text = cjson.encode(event)
  local entry = redis.call('XADD', base .. 'e', 'MAXLEN', EVENTS, '*', 'e', text)
  redis.call('PEXPIRE', base .. 'e', EVENTS_FOR)
  redis.call('SPUBLISH', KEYS[3], entry .. ' ' .. text)
end

-- `u` lists the sessions of all users of the bucket, in the order of its members: the user's hash, then the session's
-- id without its label. One key for all of them takes a third of the memory that one for each would.
local label = string.match(base, '{(..)}')
local HASH = 16 -- the length of a user's hash

local function member(user, id)
  return user .. string.sub(id, 3)
end

local function ids_of(user)
  local ids = redis.call('ZRANGEBYLEX', base .. 'u', '[' .. user, '(' .. user .. '~')
  for i, one in ipairs(ids) do ids[i] = label .. string.sub(one, HASH + 1) end
  return ids
end

-- The sessions of a user with what `m` says of them, those that end first first.
local function sessions_of(user)
  local sessions = {}
  for _, id in ipairs(ids_of(user)) do
    local text = redis.call('HGET', base .. 's:' .. id, 'm')
    if text then sessions[#sessions + 1] = {id = id, m = parse(text)} end
  end
  table.sort(sessions, function(a, b)
    if a.m.expires ~= b.m.expires then return a.m.expires < b.m.expires end
    return a.id < b.id
  end)
  return sessions
end

local function index(id, key, m)
  local x = base .. 'x:' .. m.class
  redis.call('PEXPIREAT', key, m.expires + GRACE)
  redis.call('ZADD', x, m.expires, id)
  keep(x, m.expires + KEEP)
  if m.user then
    redis.call('ZADD', base .. 'u', 0, member(m.user, id))
    keep(base .. 'u', m.expires + KEEP)
    -- `n` holds each user with the latest expiry of their sessions.
    redis.call('ZADD', base .. 'n', 'GT', m.expires, m.user)
    keep(base .. 'n', m.expires + KEEP)
  end
end

local function unindex(id, m)
  redis.call('ZREM', base .. 'x:' .. m.class, id)
  if m.user then
    redis.call('ZREM', base .. 'u', member(m.user, id))
    if tonumber(redis.call('ZSCORE', base .. 'n', m.user) or 0) <= m.expires then
      local left = sessions_of(m.user)
      local last = left[#left]
      if last then
        redis.call('ZADD', base .. 'n', last.m.expires, m.user)
      else
        redis.call('ZREM', base .. 'n', m.user)
      end
    end
  end
end

-- `h` counts the sessions by server and by class.
local function count(field, by, expires)
  local h = base .. 'h'
  if redis.call('HINCRBY', h, field, by) <= 0 then redis.call('HDEL', h, field) end
  if expires then keep(h, expires + KEEP) end
end

local function uncount(m, c)
  count('s:' .. c.server_id, -1)
  count('c:' .. m.class, -1)
end

local function lasted(m)
  local duration = math.max(0, math.min(now, m.expires) - m.created)
  local day = math.floor(now / DAY)
  local q = base .. 'q:' .. day
  redis.call('HINCRBY', q, 'n', 1)
  redis.call('HINCRBY', q, 's', duration)
  redis.call('HINCRBY', q, 'b' .. math.floor(4 * math.log(duration / 1000 + 1) / math.log(2)), 1)
  keep(q, (day + 2) * DAY)
  return duration / 1000
end

-- Notes among a user's activities that a session ended: its own go with it.
local function note_end(user, id, reason)
  local list = base .. 'l:' .. user
  redis.call('LPUSH', list, string.format('{"at":%d,"reason":"%s","session_id":"%s"}', now, reason, id))
  redis.call('LTRIM', list, 0, ACTIVITIES - 1)
  redis.call('PEXPIRE', list, DAY)
end

-- Ends a session whose invalidation was published: the record first, so that nothing that follows can save it.
local function finish(id, key, m, c, reason, kind)
  redis.call('DEL', key, base .. 'a:' .. id)
  if redis.call('ZSCORE', base .. 'x:' .. m.class, id) then
    unindex(id, m)
    uncount(m, c)
    if m.user then note_end(m.user, id, reason) end
    tell(kind, id, m, c, {reason = reason, duration_seconds = lasted(m), version = m.v})
  end
  return c.kin or {}
end

-- Clears up after an expired session: index entries, counts, its event. Its key stays until the grace is over, so that
-- "expired" can be told from "never made"; out of the indexes, no touch that comes late revives it.
local function expire(id, key, m)
  if not redis.call('ZSCORE', base .. 'x:' .. m.class, id) then return end
  local c = core(key)
  unindex(id, m)
  uncount(m, c)
  redis.call('DEL', base .. 'a:' .. id)
  tell('expired', id, m, c, {reason = 'expired', duration_seconds = lasted(m), version = m.v})
end

-- An operation that was run before: what it answered then.
local function answered(key)
  return redis.call('GET', key)
end

local function remember(key, text)
  redis.call('SET', key, text, 'PX', OPERATION)
end
