import{ActivityList as e}from"./activity.js";import{A as t,D as n,c as r,j as i,n as a,o,r as s,t as c}from"./app.js";import{d as l,f as u,h as d,i as f,l as p,m,t as h,u as g}from"./html.js";const _={serving:[`disc`,`green`,`Serving`],ejected:[`cross`,`red`,`Ejected`],"last one":[`triangle`,`amber`,`Last one`],paused:[`bars`,`amber`,`Paused`],probing:[`triangle`,`amber`,`Probing`]};function v(){let t=i(`v1/cluster`),o=i(`v1/backends`);n({Escape:()=>a(``)});let l=t.data?.replicas??[],u=l.filter(e=>d(e.state)===`lost`),{undecided:p=[],nats:m=[],degraded:g=[]}=t.data??{},_=(o.data?.backends??[]).flatMap(({name:e,groups:t=[],urls:n=[]})=>n.map((n,r)=>({...n,backend:e,groups:t,leads:r===0})));return h`<h1 class="hidden">Cluster and backends</h1>
${(u.length>0||(t.data?.verdict??``)!==``)&&h`<div class="verdict red" role="status"><div>${t.data?.verdict||h`<b>Lost: ${u.map(({name:e})=>e).join(`, `)}.</b>`}</div></div>`}
<div class="split">
<div class="pane">
${t.problem?.status!==404&&h`<section>
${r(`Replicas`,`${l.length-u.length} of ${l.length} live, as ${l.find(({self:e})=>e)?.name??`this one`} sees it`)}
${t.problem&&t.problem.status!==0&&s(t.problem,t.refresh)}
${l.length>0&&h`<${c} ...${{label:`Replicas`,columns:b,rows:l,idOf:({name:e})=>e}} />`}
</section>`}
${l.length>0&&h`<${E} cluster=${t.data} />`}
<section>
${r(`Backends`,_.length===0?`none`:`URLs as this replica sends to them`)}
${o.problem&&o.problem.status!==0&&(o.problem.status===404?h`<p class="none">not known</p>`:s(o.problem,o.refresh))}
${_.length>0&&h`<${c} ...${{label:`Backends`,columns:S,rows:_,idOf:({backend:e,url:t})=>`${e} ${t}`}} />`}
</section>
${p.length>0&&h`<section>
${r(`Groups that no replica decides`,f(p.length))}
<div class="grid undecided">${p.map(({group:e,shard:t,waiting:n,unreachable:r})=>h`<div class="line"><b>${e}</b><span class="t2">shard ${t}</span><span class="r">${n??``} wait</span><span class="t2">${r??``}</span></div>`)}</div>
</section>`}
</div>
<aside>
${m.length>0&&h`<section>${r(`NATS`,`${m.length} servers`)}<div class="grid nats">${m.map(({name:e,url:t,state:n,rtt:r})=>h`<div class="line"><span>${y(d(n)===`down`?`red`:`green`)}${d(n)}</span><span>${e??t}</span><span class="r t2">${r??``}</span></div>`)}</div></section>`}
${g.length>0&&h`<section>${r(`Degraded groups`,`${g.length}, limits not promised`)}<div class="grid nats">${g.map(({group:e,how:t,admitted:n})=>h`<div class="line"><b>${e}</b><span class="t2">${t??``}</span><span class="r amber">${n===void 0?``:`${f(Number(n))} admitted`}</span></div>`)}</div></section>`}
<section>${r(`What happened`)}<${e} limit=${20} /></section>
</aside>
</div>`}function y(e){return o(e===`red`?`cross`:`disc`,e)}const b=[{head:`State`,width:96,cell:({state:e})=>d(e)===`lost`?h`<span class="state red">${y(`red`)}Lost</span>`:h`<span class="state">${y(`green`)}Live</span>`},{head:`Replica`,width:120,cell:({name:e})=>h`<b>${e}</b>`},{head:`Last heard`,width:100,right:!0,cell:({lastHeard:e,self:t})=>x(e,t)},{head:`Shards`,width:80,right:!0,cell:({shards:e})=>String(typeof e==`number`?e:e?.length??``)},{head:`Revision`,width:80,right:!0,cell:({revision:e})=>e??``},{head:`Callers held`,width:100,right:!0,cell:({held:e})=>e===void 0?``:f(Number(e))},{head:`Decisions/s`,width:100,right:!0,cell:({decisions:e})=>e===void 0?``:p(e)},{head:`Note`,cell:({note:e,self:t})=>h`<span class="t2">${e||(t===!0?`answers this page`:``)}</span>`}];function x(e,n){let r=l(e);return r===void 0?n===!0?`0.0 s`:``:m(t()-r)}const S=[{head:`Backend`,width:110,cell:({backend:e,groups:t,leads:n})=>n&&h`<b title=${t.join(`, `)}>${e}</b>`},{head:`State`,width:96,cell:({state:e})=>C(d(e))},{head:`URL`,cell:({url:e})=>h`<code>${e.replace(/^https?:\/\//,``)}</code>`},{head:`In flight`,width:90,right:!0,cell:({inFlight:e,limit:t})=>e===void 0?``:`${e}${t===void 0?``:` / ${t}`}`},{head:`Waiting`,width:80,right:!0,cell:({waiting:e})=>e===void 0?``:f(g(e)??0)},{head:`p99`,width:70,right:!0,cell:({p99:e})=>w(e)},{head:`Failures, and what comes next`,width:230,cell:T}];function C(e){let t=_[e];return t===void 0?e:h`<span class=${`state ${t[1]}`}>${o(t[0],t[1])}${t[2]}</span>`}function w(e){let t=u(e);return t===void 0?``:t<1e3?`${Math.round(t)} ms`:m(t)}function T({lastFailure:e,nextProbe:n}){let r=typeof e==`string`?e:String(e?.error??``),i=l(n),a=[r,i===void 0?``:`probe in ${m(i-t())}`].filter(e=>e!==``).join(`; `);return h`<span class="t2" title=${a}>${a}</span>`}function E({cluster:e}){let t=/* @__PURE__ */ new Map;for(let{shard:n,replica:r}of e?.shards??[])n!==void 0&&r&&t.set(n,r);for(let{name:n,shards:r}of e?.replicas??[])if(Array.isArray(r))for(let e of r)t.set(e,n);return t.size===0?null:h`<section>
${r(`Shards`,`last letter of who decides; ✕ = no replica`)}
<div class="shards" role="img" aria-label=${`${t.size} of 64 shards are decided`}>
${Array.from({length:64},(e,n)=>h`<span class=${t.has(n)?``:`red`} title=${`shard ${n}: ${t.get(n)??`no replica`}`}>${t.get(n)?.slice(-1)??`✕`}</span>`)}
</div>
</section>`}export{v as ClusterScreen};