-- Counts one, if it is within the limit. ARGV: max, window, now, '1' to count (else it only looks), the largest max that is counted
-- exactly. Gives {allowed, what is left, ms until the reset}.
local max, window, now, counting = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4] == '1'
local kept = redis.call('GET', KEYS[1])
local c
if kept then
    c = slide(cmsgpack.unpack(kept), window, now)
elseif not counting then
    return {1, max, 0}
elseif max <= tonumber(ARGV[5]) then
    c = {0}
else
    c = {1, now - now % window, 0, 0}
end
local allowed = left(c, max, window, now) >= 1
if allowed and counting then
    if c[1] == 0 then
        -- In order, also if the clock went back.
        c[#c + 1] = #c > 1 and math.max(c[#c], now) or now
    else
        c[4] = c[4] + 1
    end
    keep(c, window)
end
local rest = math.floor(math.max(left(c, max, window, now), 0))
return {allowed and 1 or 0, rest, reset(c, max, window, now, allowed)}
